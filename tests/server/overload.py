#!/usr/bin/env python3
"""Far more clients at once than there is room for: who is refused is told so at once, who is accepted gets the right text.

    tests/server/overload.py [--program build/release/bin/kl] [--clients 500] [--rounds 5]

Starts `kl serve --parallel 4 --max-queue 16` with the bundled model.  In every round all clients ask at the same moment, each
once.  Times of refusals are the server's own, from its log: those a client sees are those of 500 clients in one process.
Afterwards slots must be free, and memory and descriptors of the server what they were after the first round."""
import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import soak

PARALLEL, MAX_QUEUE = 4, 16


async def ask(port, index, texts, start, seen):
    """One client that asks once."""
    client = soak.Client(port)
    j = soak.job(index % len(texts))
    path, body = soak.request_of(j, stream=True)
    await start.wait()
    asked = time.monotonic()
    await client.send(path, body)
    status, headers = await client.head()
    seconds = time.monotonic() - asked
    data = await client.body(headers)
    client.close()
    if status == 429:
        assert json.loads(data)["error"]["code"] == "server_busy" and int(headers["retry-after"]) >= 1, (headers, data)
        seen["refused"].append(seconds)
        return
    assert status == 200, (status, data)
    lines = [line[6:] for line in data.decode().split("\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]", lines[-1]
    chunks = [json.loads(line) for line in lines[:-1]]
    text = "".join(soak.text_of(c["choices"][0]) for c in chunks if c["choices"])
    assert text == texts[index % len(texts)], (j, text)
    seen["accepted"] += 1


async def one_round(port, clients, texts, seen):
    start = asyncio.Event()
    tasks = [asyncio.create_task(ask(port, i, texts, start, seen)) for i in range(clients)]
    await asyncio.sleep(0)
    start.set()
    await asyncio.gather(*tasks)
    await soak.settle(port)
    slots = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/slots", timeout=30))
    assert len(slots) == PARALLEL and not any(slot["is_processing"] for slot in slots), slots


async def overload(program, clients, rounds, distinct=16):
    texts = [soak.expected_text(program, soak.job(i)) for i in range(distinct)]
    seen = {"accepted": 0, "refused": []}
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen([program, "serve", "--port", "0", "--parallel", str(PARALLEL), "--max-queue", str(MAX_QUEUE),
                                   "--cache-bytes", "16M", "--max-connections-per-address", "0", "--log-format", "json"],
                                  stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            port = int(re.search(r":(\d+)", server.stdout.readline())[1])
            await one_round(port, clients, texts, seen)
            before = soak.resources(server.pid)
            for _ in range(rounds - 1):
                await one_round(port, clients, texts, seen)
            after = soak.resources(server.pid)
        finally:
            server.send_signal(signal.SIGTERM)
            status = server.wait(60)
        log.seek(0)
        took = sorted(line["seconds"] for line in map(json.loads, log) if line["status"] == 429)
    return {"accepted": seen["accepted"], "refused": len(seen["refused"]), "logged": len(took), "exit": status,
            "refusal_median_ms": 1000 * statistics.median(took), "refusal_p99_ms": 1000 * took[len(took) * 99 // 100],
            "refusal_worst_ms": 1000 * took[-1], "client_median_ms": 1000 * statistics.median(seen["refused"]),
            "client_worst_ms": 1000 * max(seen["refused"]), "rss": before[0], "rss_after": after[0],
            "descriptors": before[1], "descriptors_after": after[1]}


def check(result, clients, rounds, refusal_ms):
    assert result["accepted"] + result["refused"] == clients * rounds and result["logged"] == result["refused"], result
    assert result["accepted"] >= (PARALLEL + MAX_QUEUE) * rounds, result
    assert result["refusal_p99_ms"] < refusal_ms, result
    soak.check_nothing_is_left(result)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.environ.get("KL_PROGRAM", "build/release/bin/kl"))
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--refusal-ms", type=float, default=100, help="of 99 in 100 refusals; on a machine that does nothing else")
    a = parser.parse_args()
    result = asyncio.run(overload(a.program, a.clients, a.rounds))
    print(json.dumps({name: round(value, 2) for name, value in result.items()}))
    check(result, a.clients, a.rounds, a.refusal_ms)
    print(f"{a.clients} clients at once, {a.rounds} times: {result['accepted']} right answers, {result['refused']} refusals in time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
