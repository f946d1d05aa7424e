#!/usr/bin/env python3
"""Times a running `kl serve` as its users see it.

    bench/serve.py --url http://127.0.0.1:8080 crowd --clients 8 --tokens 64      tokens/s of all together, and of each
    bench/serve.py --url ... beside --prompt-tokens 32768                         time per token while a long prompt is read
    bench/serve.py --url ... edit --prompt-tokens 32768                           first token after an edit, against cold
    bench/serve.py --url ... overhead --pid PID --clients 64                      CPU of the server's own thread per token

Compare `crowd` with `kl bench -m DIR -b 8`: the batch without a server."""
import argparse
import http.client
import json
import pathlib
import socket
import statistics
import threading
import time
import urllib.parse


class Stream:
    """One streamed completion; the times of its chunks."""

    def __init__(self, url, body):
        parts = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=3600)
        path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
        body = body | {"stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True, "temperature": 0}
        self.start, self.times, self.usage, self.has_hung_up = time.perf_counter(), [], None, False
        self.connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})

    def run(self):
        reply = self.connection.getresponse()
        assert reply.status == 200, reply.read()
        for line in self.lines(reply):
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            chunk = json.loads(line[6:])
            self.usage = chunk.get("usage") or self.usage
            if any(text(choice) for choice in chunk["choices"]):
                self.times.append(time.perf_counter())
        return self

    def lines(self, reply):
        try:
            yield from reply
        except (http.client.HTTPException, OSError):
            if not self.has_hung_up:
                raise

    def hang_up(self):
        self.has_hung_up = True
        self.connection.sock.shutdown(socket.SHUT_RDWR)

    def first(self):
        return self.times[0] - self.start


def text(choice):
    return choice.get("text") or (choice.get("delta") or {}).get("content")


def long_text(words):
    return " ".join(f"w{i * 7919 % 9973}" for i in range(words))


def together(streams):
    threads = [threading.Thread(target=s.run) for s in streams]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def crowd(a):
    streams = [Stream(a.url, {"prompt": f"{i} times: ", "max_tokens": a.tokens}) for i in range(a.clients)]
    together(streams)
    begin, end = max(s.times[0] for s in streams), min(s.times[-1] for s in streams)
    total = sum(sum(begin < t <= end for t in s.times) for s in streams)
    return {"clients": a.clients, "tokens_per_second": total / (end - begin)}


def gaps(stream, begin, end):
    times = [t for t in stream.times if begin <= t <= end]
    return [b - a for a, b in zip(times, times[1:])]


def beside(a):
    user = Stream(a.url, {"prompt": "A quiet user: ", "max_tokens": a.tokens})
    thread = threading.Thread(target=user.run)
    thread.start()
    time.sleep(a.quiet)
    start = time.perf_counter()
    reader = Stream(a.url, {"prompt": long_text(a.prompt_tokens // a.tokens_per_word), "max_tokens": 1}).run()
    end = reader.times[0]
    user.hang_up()
    thread.join()
    quiet, busy = gaps(user, user.times[1], start), gaps(user, start, end)
    return {"prompt_tokens": reader.usage["prompt_tokens"], "prompt_seconds": reader.first(), "quiet_ms": 1e3 * statistics.mean(quiet),
            "busy_ms": 1e3 * statistics.mean(busy), "busy_max_ms": 1e3 * max(busy), "ratio": statistics.mean(busy) / statistics.mean(quiet)}


def edit(a):
    system = {"role": "system", "content": long_text(a.prompt_tokens // a.tokens_per_word)}
    ask = lambda message: Stream(a.url, {"messages": [system, {"role": "user", "content": message}], "max_tokens": 1}).run()
    cold, edited, again = ask("What is it about?"), ask("Who wrote it?"), ask("Who wrote it?")
    cached = edited.usage["prompt_tokens_details"]["cached_tokens"]
    return {"prompt_tokens": cold.usage["prompt_tokens"], "cold_seconds": cold.first(), "edited_seconds": edited.first(),
            "regenerated_seconds": again.first(), "cached_tokens": cached, "ratio": edited.first() / cold.first()}


def cpu_seconds(pid, name):
    """CPU time of the threads of a process that are called `name`."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            total += sum(map(int, (task / "stat").read_text().rsplit(")", 1)[1].split()[11:13]))
    return total / 100


def overhead(a):
    before, start = cpu_seconds(a.pid, "kl-http"), time.perf_counter()
    streams = [Stream(a.url, {"prompt": f"{i}: ", "max_tokens": a.tokens}) for i in range(a.clients)]
    together(streams)
    seconds, cpu, tokens = time.perf_counter() - start, cpu_seconds(a.pid, "kl-http") - before, a.clients * a.tokens
    return {"clients": a.clients, "tokens_per_second": tokens / seconds, "io_thread_cpu_seconds": cpu,
            "percent_of_a_core_per_1000_tokens_per_second": 100 * cpu / tokens * 1000}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("what", choices=["crowd", "beside", "edit", "overhead"])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=32768)
    parser.add_argument("--tokens-per-word", type=int, default=4, help="of this model's vocabulary, about")
    parser.add_argument("--quiet", type=float, default=5, help="seconds before the long prompt comes")
    parser.add_argument("--pid", type=int)
    a = parser.parse_args()
    print(json.dumps(globals()[a.what](a), indent=1))


if __name__ == "__main__":
    main()
