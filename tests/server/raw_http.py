"""HTTP by hand: what no well-behaved client library would send, and replies read as strictly as clients should."""
import json
import os
import pathlib
import socket
import ssl
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
KL = pathlib.Path(os.environ.get("KL_PROGRAM", ROOT / "build/release/bin/kl"))
ECHO = KL.with_name("echo-server")


class Reply:
    def __init__(self, status, headers, body, is_whole):
        self.status, self.headers, self.body, self.is_whole = status, headers, body, is_whole

    def json(self):
        return json.loads(self.body)

    def error(self):
        """The error, after a check that it has exactly OpenAI's form."""
        body = self.json()
        assert list(body) == ["error"]
        error = body["error"]
        assert sorted(error) == ["code", "message", "param", "type"]
        assert isinstance(error["message"], str) and error["message"]
        assert isinstance(error["type"], str)
        assert all(error[name] is None or isinstance(error[name], str) for name in ("param", "code"))
        assert self.headers["content-type"] == "application/json"
        return error


class Wire:
    """A connection."""

    def __init__(self, address, timeout=10, source=None, tls=None):
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, timeout=timeout, source_address=source and (source, 0))
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Sends, unless the other end has had enough."""
        try:
            self.socket.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            pass
        return self

    def _fill(self):
        try:
            piece = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            piece = b""
        self.buffer += piece
        return bool(piece)

    def _line(self):
        while b"\r\n" not in self.buffer:
            if not self._fill():
                return None
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def _take(self, count):
        while len(self.buffer) < count:
            if not self._fill():
                break
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def reply(self, is_head=False):
        """The next reply, or None if the connection ends."""
        line = self._line()
        if line is None:
            assert self.buffer == b"", self.buffer
            return None
        version, status, reason = line.split(b" ", 2)
        assert version == b"HTTP/1.1" and reason
        headers = {}
        while line := self._line():
            name, value = line.decode().split(": ", 1)
            assert name.lower() not in headers, name
            headers[name.lower()] = value
        status = int(status)
        if status == 100:
            return Reply(status, headers, b"", True)
        if is_head or status in (204, 304):
            return Reply(status, headers, b"", True)
        if "transfer-encoding" in headers:
            return self._chunked(status, headers)
        if "content-length" in headers:
            wanted = int(headers["content-length"])
            body = self._take(wanted)
            return Reply(status, headers, body, len(body) == wanted)
        while self._fill():
            pass
        body, self.buffer = self.buffer, b""
        return Reply(status, headers, body, True)

    def _chunked(self, status, headers):
        assert headers["transfer-encoding"] == "chunked" and "content-length" not in headers
        body = bytearray()
        while (line := self._line()) is not None:
            size = int(line, 16)
            body += self._take(size)
            if self._line() is None:
                break
            if size == 0:
                return Reply(status, headers, bytes(body), True)
        return Reply(status, headers, bytes(body), False)

    def is_closed(self, within=30):
        """Whether the server closes the connection, sending nothing more, within that time."""
        self.socket.settimeout(within)
        try:
            return self.buffer == b"" and not self._fill()
        except TimeoutError:
            return False


class Server:
    """A running program that prints its URL on its first line."""

    def __init__(self, command, env=None):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("KL_")} | (env or {})
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=environment)
        line = self.process.stdout.readline().decode()
        assert line, self.process.stderr.read().decode()
        self.url = line.split()[0]
        if self.url.startswith("unix:"):
            self.address = self.url.removeprefix("unix:")
        else:
            host, port = self.url.split("://")[1].rsplit(":", 1)
            self.address = (host.strip("[]"), int(port))

    def wire(self, **options):
        return Wire(self.address, **options)

    def ask(self, data, **options):
        with self.wire(**options) as wire:
            return wire.send(data).reply()

    def get(self, path, headers="", method="GET", **options):
        return self.ask(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n", **options)

    def post(self, path, body=b"", headers="", **options):
        body = body if isinstance(body, bytes) else body.encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        return self.ask(head.encode() + body, **options)

    def send(self, letters):
        self.process.stdin.write(letters.encode())
        self.process.stdin.flush()

    def stop(self):
        """Ends the program; what it has logged."""
        if self.process.poll() is None:
            if self.process.args[0] == str(ECHO):
                self.process.stdin.close()
                self.process.stdin = None
            else:
                self.process.terminate()
        try:
            return self.process.communicate(timeout=20)[1].decode()
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.process.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def echo_server(**options):
    return Server([ECHO], {"ECHO_OPTIONS": json.dumps(options)})


def eventually(condition, within=5):
    """Whether `condition` comes to hold."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False
