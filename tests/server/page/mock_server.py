"""Serves the chat page with its content security policy, and plays the engine behind it.

    python3 mock_server.py [PORT]        then open http://127.0.0.1:8081/

What it answers depends on the last message: ORDERS says on which words; anything else is echoed.  GET /mock tells tests what was asked; POST /mock sets the API key.
"""
import http.server
import json
import math
import pathlib
import re
import socket
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
PAGE = ROOT / "src/server/page"
POLICY = re.search(r'kPolicy\s*=\s*((?:"[^"]*"\s*)+);', (ROOT / "src/server/page/page.cc").read_text())
POLICY = "".join(re.findall(r'"([^"]*)"', POLICY[1]))
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".svg": "image/svg+xml"}

# A word of the message, and what follows.  "silent" comes to nothing, "break" breaks off after two words, each once the test
# says so (Mock.go); "weather" needs tools in the settings.
ORDERS = {"slow": "slow", "silent": "silent", "break": "break", "busy": "busy", "refuse": "refuse", "remember": "markdown",
          "weather": "tool"}

MARKDOWN = """KDA keeps a **memory of fixed size** per head and *corrects* it with every token:

1. decay each key channel,
2. compare what the memory says with the new value,
3. write the difference.

```python
def step(S, q, k, v, g, beta):
    S = S * exp(g)               # decay
    S += beta * outer(v - S @ k, k)
    return S @ q, S
```

| | KDA | MLA |
|---|---|---|
| cost per token | constant | grows with the text |
| recalls | the gist | any token |

See the [report](https://arxiv.org/abs/2510.26692) for `beta`, and why one layer in four is MLA."""


class Mock:
    """What the tests set and look at."""

    def __init__(self):
        self.lock = threading.Lock()
        self.key = ""
        self.requests = []     # bodies of POST /v1/chat/completions
        self.cancelled = 0     # streams whose reader went away
        self.busy_left = 0     # refusals still to come
        self.seen = []         # prompts read before, as lists of words
        self.go = threading.Event()  # what "silent" and "break" wait for; who plays by hand waits for `patience`
        self.patience = 5
        self.has_broken = False  # a second try is answered


def words_of(messages):
    return " ".join(f"<{m['role']}> {m.get('content') or ''}" for m in messages).split()


def pieces(text):
    """Cuts a text into tokens, as a tokenizer would: words with the space before them."""
    return re.findall(r"\n+|\s?[^\s]{1,6}|\s", text)


def logprobs_of(token, position, top):
    """Likely tokens mostly, a surprise now and then; what is chosen depends on the position only."""
    chosen = [0.97, 0.88, 0.55, 0.995, 0.72, 0.24, 0.93, 0.06, 0.999, 0.81][(position * 7) % 10]
    rest = [w for w in [" the", " a", "\n", " state", " memory", " each"] if w != token][:top - 1]
    left, shares = 1 - chosen, []
    for i, word in enumerate(rest):
        shares.append((word, left * 0.55 * 0.4 ** i))
    entries = sorted([(token, chosen), *shares], key=lambda entry: -entry[1])
    as_entry = lambda text, p: {"token": text, "logprob": math.log(p), "bytes": list(text.encode())}
    return {**as_entry(token, chosen), "top_logprobs": [as_entry(*entry) for entry in entries]}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    mock = None

    def log_message(self, *_):
        pass

    def parse_request(self):
        self.mock = type(self).mock  # what a test began it ends with: what is left of it is not told to the next one
        return super().parse_request()

    def reply(self, status, body, kind="application/json", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def fail(self, status, message, param=None, **headers):
        self.reply(status, {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": None}}, **headers)

    def allowed(self):
        if self.mock.key and self.headers["Authorization"] != f"Bearer {self.mock.key}":
            self.fail(401, "Authorization: expected the server's API key, got none or another")
            return False
        return True

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/health":
            self.reply(200, {"status": "ok"})
        elif path == "/mock":
            with self.mock.lock:
                self.reply(200, {"requests": self.mock.requests, "cancelled": self.mock.cancelled})
        elif path == "/v1/models":
            if self.allowed():
                self.reply(200, {"object": "list", "data": [{"id": "mock-engine", "object": "model", "created": 0, "owned_by": "kl"}]})
        elif path == "/props":
            if self.allowed():
                self.reply(200, {"default_generation_settings": {"n_ctx": 131072, "params": {
                    "temperature": 0.7, "top_p": 0.95, "top_k": 0, "min_p": 0.05, "presence_penalty": 0.0,
                    "frequency_penalty": 0.0, "repeat_penalty": 1.0, "max_tokens": -1, "seed": 4294967295}}})
        else:
            self.static(path)

    def static(self, path):
        file = PAGE / ("index.html" if path == "/" else path.lstrip("/"))
        if file.parent != PAGE or not file.is_file():
            return self.fail(404, f"{path}: no such page")
        self.reply(200, file.read_bytes(), TYPES[file.suffix], Content_Security_Policy=POLICY, X_Content_Type_Options="nosniff",
                   Referrer_Policy="no-referrer", Cache_Control="no-cache")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/mock":
            self.mock.key = body.get("key", "")
            self.mock.busy_left = body.get("busy", 0)
            return self.reply(200, {})
        if not self.allowed():
            return None
        with self.mock.lock:
            self.mock.requests.append(body)
        last = [m["content"] for m in body["messages"] if m["role"] == "user"][-1]
        order = next((ORDERS[word] for word in re.findall(r"\w+", last) if word in ORDERS), "")
        if order == "busy" and self.mock.busy_left > 0:
            self.mock.busy_left -= 1
            return self.fail(429, "the queue is full", Retry_After="1")
        if order == "refuse":
            return self.fail(400, "temperature: expected 0 to 2, got 9", "temperature")
        return self.stream(body, order)

    def stream(self, body, order):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        start = time.monotonic()
        try:
            self.answer(body, order, start)
        except OSError:
            with self.mock.lock:
                self.mock.cancelled += 1
        self.close_connection = True

    def event(self, data):
        text = f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()
        half = len(text) // 2  # events arrive in pieces
        for part in (text[:half], text[half:]):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()

    def answer(self, body, order, start):
        def chunk(delta, finish=None, **more):
            self.event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": body["model"], "usage": None,
                        "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None, **more}]})

        messages = body["messages"]
        after_tool = messages[-1]["role"] == "tool"
        cached, total, miss = self.read_prompt(messages)
        time.sleep(0.4 if order == "slow" else 0.02)
        if order == "silent":
            self.mock.go.wait(self.mock.patience)
        chunk({"role": "assistant", "content": ""})
        first = time.monotonic()
        if order == "tool" and body.get("tools") and not after_tool:
            count, finish = self.call_tools(chunk), "tool_calls"
        else:
            text = self.text_of(messages, order, after_tool)
            count, finish = self.say(text, body, order, chunk), "stop"
            with self.mock.lock:
                self.mock.seen.append(words_of([*messages, {"role": "assistant", "content": text}]))
        if count is None:
            return
        seconds = max(time.monotonic() - first, 1e-6)
        chunk({}, finish)
        self.event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": body["model"], "choices": [],
                    "usage": {"prompt_tokens": total, "completion_tokens": count, "total_tokens": total + count,
                              "prompt_tokens_details": {"cached_tokens": cached, "cache_miss_reason": miss}},
                    "timings": {"prompt_n": total - cached, "prompt_ms": 1000 * (first - start), "predicted_n": count,
                                "predicted_ms": 1000 * seconds, "predicted_per_second": count / seconds}})
        self.event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def read_prompt(self, messages):
        words = words_of(messages)
        with self.mock.lock:
            common = [next((i for i, (a, b) in enumerate(zip(words, seen)) if a != b), min(len(words), len(seen))) for seen in self.mock.seen]
            cached = min(max(common, default=0), len(words) - 1)
            self.mock.seen.append(words)
        miss = "cold" if cached == 0 else "none" if cached >= len(words) - 1 else "diverged"
        return cached, len(words), miss

    def text_of(self, messages, order, after_tool):
        if after_tool:
            return "The tool says: " + messages[-1]["content"]
        if order == "markdown":
            return MARKDOWN
        if order == "slow":
            return " ".join(f"word{i}" for i in range(2000))
        return "You said: " + messages[-1]["content"]

    def say(self, text, body, order, chunk):
        tokens = pieces(text)
        for i, token in enumerate(tokens):
            more = {}
            if body.get("logprobs"):
                more["logprobs"] = {"content": [logprobs_of(token, i, body.get("top_logprobs", 0))], "refusal": None}
            chunk({"content": token}, **more)
            if order == "break" and i == 1 and not self.mock.has_broken:
                self.mock.go.wait(self.mock.patience)  # a browser throws away what the page has not read when the end comes
                self.mock.has_broken = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return None
            time.sleep(0.03 if order == "slow" else 0.002)
        return len(tokens)

    def call_tools(self, chunk):
        calls = [("get_weather", {"city": "Zürich", "days": 3}), ("get_time", {"zone": "Europe/Zurich"})]
        for index, (name, arguments) in enumerate(calls):
            chunk({"tool_calls": [{"index": index, "id": f"functions.{name}:{index}", "type": "function",
                                   "function": {"name": name, "arguments": ""}}]})
            text = json.dumps(arguments, ensure_ascii=False)
            for at in range(0, len(text), 5):
                chunk({"tool_calls": [{"index": index, "function": {"arguments": text[at:at + 5]}}]})
                time.sleep(0.005)
        return 24


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # a reader that went away


def serve(port=0):
    """Starts a server on its own threads; .url, .mock and .shutdown()."""
    handler = type("MockHandler", (Handler,), {"mock": Mock()})
    server = Server(("127.0.0.1", port), handler)
    server.mock = handler.mock
    server.url = f"http://127.0.0.1:{server.server_port}/"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    running = serve(int(sys.argv[1]) if len(sys.argv) > 1 else 8081)
    print(running.url, flush=True)
    threading.Event().wait()
