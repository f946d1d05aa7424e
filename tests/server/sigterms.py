#!/usr/bin/env python3
"""SIGTERM under load, at random moments: the server ends in time with status 0, and no reply ends in the middle of a line.

    KL_PROGRAM=build/release/bin/kl tests/server/sigterms.py [--times 100] [--seed 1]

Each time a server with the bundled model gets streams that end by themselves, streams that would go on for long, and whole
replies; then, somewhere in the first second, the signal, while another client goes on asking.  Every stream must end with
[DONE] or with an error event and its last chunk, every whole reply be one or a 503; once new requests have been refused, none
is accepted, and refusals are 503 with Retry-After."""
import argparse
import json
import random
import signal
import statistics
import sys
import threading
import time

from raw_http import KL, Server

GRACE, LAST_WORDS, SLACK = 0.5, 1.0, 2.0  # seconds; the last is the machine's


def post(wire, body):
    data = json.dumps(body)
    wire.send(f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n{data}")
    return wire.reply()


class Load:
    """Clients of one server; what they saw."""

    def __init__(self, server, dice, clients):
        self.server, self.problems, self.lock = server, [], threading.Lock()
        self.ending, self.over = threading.Event(), threading.Event()  # the signal comes; the server has gone
        self.seen = {"done": 0, "cut": 0, "whole": 0, "refused": 0, "unanswered": 0}
        self.threads = [threading.Thread(target=self.client, args=(random.Random(dice.random()),)) for _ in range(clients)]
        self.threads.append(threading.Thread(target=self.newcomer))
        for thread in self.threads:
            thread.start()

    def count(self, what):
        with self.lock:
            self.seen[what] += 1

    def client(self, dice):
        """Asks over and over, on connections of its own."""
        while not self.over.is_set():
            stream = dice.random() < 0.75
            body = {"prompt": "ROMEO:", "stream": stream, "ignore_eos": True, "seed": dice.randrange(1000),
                    "max_tokens": dice.choice([3, 30, 1500]) if stream else 10}
            try:
                with self.server.wire() as wire:
                    reply = post(wire, body)
            except ConnectionError:  # nobody listens any more
                return
            self.judge(reply, stream)
            time.sleep(0.002)

    def newcomer(self):
        """Once refused, never accepted."""
        refused = False
        while not self.over.is_set():
            try:
                with self.server.wire() as wire:
                    reply = post(wire, {"prompt": "x", "max_tokens": 1})
            except ConnectionError:  # nobody listens any more
                return
            if reply is not None and reply.status == 200 and refused:
                self.problems.append("accepted after others had been refused")
            refused = refused or (reply is not None and reply.status == 503)
            self.judge(reply, stream=False)
            time.sleep(0.01)

    def judge(self, reply, stream):
        if reply is None:  # came when the server had gone
            if not self.ending.is_set():
                self.problems.append("no reply, and no signal yet")
            return self.count("unanswered")
        if not reply.is_whole:
            return self.problems.append(f"half a reply: {reply.status} {reply.body[-200:]}")
        if reply.status == 503:
            if "retry-after" not in reply.headers or not reply.error():
                self.problems.append(f"a 503 that says nothing: {reply.headers} {reply.body}")
            return self.count("refused")
        if reply.status != 200:
            return self.problems.append(f"{reply.status} {reply.body}")
        if not stream:
            reply.json()
            return self.count("whole")
        lines = [line for line in reply.body.decode().split("\n") if line]
        events = [json.loads(line.removeprefix("data: ")) for line in lines if line != "data: [DONE]" and not line.startswith(":")]
        is_done, is_cut = lines[-1] == "data: [DONE]", "error" in events[-1]
        if is_done == is_cut or not reply.body.endswith(b"\n\n"):
            return self.problems.append(f"a stream that ends in {reply.body[-200:]}")
        return self.count("done" if is_done else "cut")


def one(dice, clients=8):
    """One server and its end: what clients saw, and how long the end took."""
    server = Server([KL, "serve", "--port", "0", "--parallel", "4", "--grace", str(GRACE)])
    load = Load(server, dice, clients)
    time.sleep(dice.random())
    start = time.monotonic()
    load.ending.set()
    server.process.send_signal(signal.SIGTERM)
    status = server.process.wait(30)
    seconds = time.monotonic() - start
    load.over.set()
    for thread in load.threads:
        thread.join()
    assert not load.problems, load.problems[:3]
    assert status == 0 and seconds < GRACE + LAST_WORDS + SLACK, (status, seconds, server.process.stderr.read())
    server.process.communicate()
    return load.seen, seconds


def sigterms(times, seed):
    dice, total, ends = random.Random(seed), {}, []
    for _ in range(times):
        seen, seconds = one(dice)
        total = {what: total.get(what, 0) + count for what, count in seen.items()}
        ends.append(seconds)
    return total | {"median_s": statistics.median(ends), "worst_s": max(ends)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    result = sigterms(a.times, a.seed)
    print(json.dumps({name: round(value, 2) for name, value in result.items()}))
    assert result["cut"] > 0 and result["refused"] > 0, "nothing was tried"
    print(f"{a.times} times SIGTERM under load: every end in time with status 0, every reply whole")
    return 0


if __name__ == "__main__":
    sys.exit(main())
