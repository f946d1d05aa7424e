#!/usr/bin/env python3
"""Many clients at once, mixed requests, clients that vanish: nothing is lost and every text is the one `kl run` writes.

    tests/server/soak.py [--program build/release/bin/kl] [--clients 64] [--requests 10000] [--drops 1000]

Starts `kl serve` with the bundled model.  Expected texts come from `kl run`, one process a text.  Afterwards slots must be
free, and memory and descriptors of the server back to what they were after a warm-up."""
import argparse
import asyncio
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys

PROMPTS = ["ROMEO:\nBut soft, what light", "KING HENRY:\nOnce more", "First Witch:\nWhen shall we", "HAMLET:\nTo be", "The ",
           "MACBETH:\nTomorrow, and tomorrow, and tomorrow,\nCreeps in this petty pace from day to day\n" * 4]


def job(index):
    """One request of a kind that `kl run` can be asked as well."""
    dice = random.Random(index)
    return {"prompt": dice.choice(PROMPTS) + (" " + str(index) if index % 3 == 0 else ""), "max_tokens": dice.randint(1, 40),
            "temperature": dice.choice([0.0, 0.7, 1.0]), "top_p": dice.choice([1.0, 0.9]), "seed": index,
            "chat": index % 2 == 1, "stop": dice.choice([None, None, "\n\n", "e "])}


def expected_text(program, j):
    command = [program, "run", "-n", str(j["max_tokens"]), "--temp", str(j["temperature"]), "--top-p", str(j["top_p"]), "--seed",
               str(j["seed"]), "--chat" if j["chat"] else "--raw", "-p", j["prompt"], "--json"]
    if j["stop"]:
        command += ["--stop", j["stop"]]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["text"]


def request_of(j, stream):
    body = {key: j[key] for key in ("max_tokens", "temperature", "top_p", "seed", "stop") if j[key] is not None} | {"stream": stream}
    if j["chat"]:
        return "/v1/chat/completions", body | {"messages": [{"role": "user", "content": j["prompt"]}]}
    return "/v1/completions", body | {"prompt": j["prompt"]}


def text_of(choice):
    if "text" in choice:
        return choice["text"]
    return (choice.get("message") or choice.get("delta") or {}).get("content") or ""


class Client:
    """A keep-alive connection that speaks just enough HTTP."""

    def __init__(self, port):
        self.port, self.reader, self.writer = port, None, None

    async def send(self, path, body):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        data = json.dumps(body).encode()
        self.writer.write(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: application/json\r\n"
                          f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
        await self.writer.drain()

    async def head(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        return int(head.split()[1]), {k.lower(): v.strip() for k, v in (l.split(":", 1) for l in head.split("\r\n")[1:] if ":" in l)}

    async def body(self, headers):
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"]))
        parts = []
        while size := int((await self.reader.readline()).split(b";")[0], 16):
            parts.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readline()
        return b"".join(parts)

    async def ask(self, j, stream):
        path, body = request_of(j, stream)
        for attempt in range(50):
            await self.send(path, body)
            status, headers = await self.head()
            data = await self.body(headers)
            if status != 429:
                break
            await asyncio.sleep(0.05 * (attempt + 1))
        assert status == 200, (status, data[:300])
        if not stream:
            return text_of(json.loads(data)["choices"][0])
        lines = [l[6:] for l in data.decode().split("\n") if l.startswith("data: ")]
        assert lines[-1] == "[DONE]", lines[-1]
        chunks = [json.loads(l) for l in lines[:-1]]
        assert all("error" not in c for c in chunks), chunks[-1]
        return "".join(text_of(c["choices"][0]) for c in chunks if c["choices"])

    async def drop(self, j, moment):
        path, body = request_of(j, True)
        await self.send(path, body | {"max_tokens": 400, "stop": None})
        try:
            await asyncio.wait_for(self.reader.read(1 << 16), moment)
        except asyncio.TimeoutError:
            pass
        self.close()

    def close(self):
        if self.writer is not None:
            self.writer.transport.abort()
        self.writer = None


def gauges(port):
    import urllib.request
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
    return {name: float(value) for name, value in re.findall(r"^(\w+)(?:\{[^}]*\})? ([0-9.e+-]+)$", text, re.M)}


def resources(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024, len(os.listdir(f"/proc/{pid}/fd"))


async def work(port, clients, requests, drops, texts, stats):
    """`clients` tasks take `requests` asks and `drops` vanishing ones in random order."""
    jobs = [("ask", i) for i in range(requests)] + [("drop", i) for i in range(drops)]
    random.Random(7).shuffle(jobs)
    queue = iter(jobs)

    async def client():
        c, dice = Client(port), random.Random()
        for kind, i in queue:
            j = job(i % len(texts))
            if kind == "drop":
                await c.drop(j, dice.random() * 0.2)
                continue
            text = await c.ask(j, stream=i % 2 == 0)
            stats["done"] += 1
            if text != texts[i % len(texts)]:
                stats["different"].append((i, text, texts[i % len(texts)]))
        c.close()

    await asyncio.gather(*(client() for _ in range(clients)))


async def settle(port):
    """Waits until nobody is served."""
    for _ in range(600):
        now = gauges(port)
        if now["kl_num_requests_running"] == 0 and now["kl_num_requests_waiting"] == 0:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"texts are still running: {now}")


async def soak(program, clients, requests, drops, distinct):
    texts = [expected_text(program, job(i)) for i in range(distinct)]
    server = subprocess.Popen([program, "serve", "--port", "0", "--parallel", "16", "--cache-bytes", "64M"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    stats = {"done": 0, "different": []}
    try:
        port = int(re.search(r":(\d+)", server.stdout.readline())[1])
        await work(port, clients, requests // 4, drops // 4, texts, stats)  # warm-up: the cache fills
        await settle(port)
        rss, descriptors = resources(server.pid)
        await work(port, clients, requests - requests // 4, drops - drops // 4, texts, stats)
        await settle(port)
        rss_after, descriptors_after = resources(server.pid)
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait(60)
    return stats | {"rss": rss, "rss_after": rss_after, "descriptors": descriptors, "descriptors_after": descriptors_after,
                    "exit": status}


def check_nothing_is_left(result):
    """The server gave back what the load took, and ended well."""
    assert result["descriptors_after"] <= result["descriptors"] + 2, result
    assert result["rss_after"] <= result["rss"] * 1.05 + 8, result
    assert result["exit"] == 0, result


def check(result, requests):
    assert result["done"] == requests, f"{requests - result['done']} answers are lost"
    assert not result["different"], f"{len(result['different'])} texts differ, first: {result['different'][0]}"
    check_nothing_is_left(result)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.environ.get("KL_PROGRAM", "build/release/bin/kl"))
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--drops", type=int, default=1000)
    parser.add_argument("--distinct", type=int, default=100)
    a = parser.parse_args()
    result = asyncio.run(soak(a.program, a.clients, a.requests, a.drops, a.distinct))
    print(json.dumps({k: v if k != "different" else len(v) for k, v in result.items()}))
    check(result, a.requests)
    print(f"{a.requests} answers from {a.clients} clients, {a.drops} dropped: none lost, none different")
    return 0


if __name__ == "__main__":
    sys.exit(main())
