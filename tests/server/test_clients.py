"""Clients that are slow, many, greedy or gone; and others meanwhile, who must not notice."""
import json
import socket
import statistics
import threading
import time

import pytest
from raw_http import Wire, eventually

HOST = "Host: localhost\r\n"
MB = 1 << 20


def post(target, lines="Content-Length: 0\r\n", body=""):
    return f"POST {target} HTTP/1.1\r\n{HOST}{lines}\r\n{body}"


def worst_of(server, requests, seconds=0.0):
    """Seconds that the slowest 1 % of `requests` take that are sent one after the other from an address of their own."""
    times = []
    with server.wire(source="127.0.0.9") as wire:
        for _ in range(requests):
            start = time.monotonic()
            assert wire.send(f"GET /echo HTTP/1.1\r\n{HOST}\r\n").reply().status == 200
            times.append(time.monotonic() - start)
            time.sleep(seconds)
    return statistics.quantiles(times, n=100)[98]


@pytest.mark.parametrize("sent, status", [("", None), ("GET /ec", 408), (f"GET /echo HTTP/1.1\r\n{HOST}X-A: ", 408)])
def test_a_head_must_come_in_time(start_echo, sent, status):
    server = start_echo(head_timeout=0.3)
    with server.wire() as wire:
        start = time.monotonic()
        reply = wire.send(sent).reply()
        assert (reply and reply.status) == status
        assert wire.is_closed()
        assert 0.2 < time.monotonic() - start < 2.3


def test_a_trickle_does_not_extend_the_time(start_echo):
    server = start_echo(head_timeout=0.5)
    with server.wire() as wire:
        start = time.monotonic()
        for _ in range(100):
            wire.send("a")
            time.sleep(0.02)
            if time.monotonic() - start > 1:
                break
        assert wire.reply().status == 408


def test_a_body_must_come_in_time(start_echo):
    server = start_echo(body_timeout=0.3)
    for lines, body in (("Content-Length: 50\r\n", "hello"), ("Transfer-Encoding: chunked\r\n", "5\r\nhel")):
        with server.wire() as wire:
            assert wire.send(post("/echo", lines, body)).reply().status == 408
            assert wire.is_closed()


def test_idle_connections_close(start_echo):
    server = start_echo(idle_timeout=0.3)
    with server.wire() as wire:
        assert wire.send(f"GET /echo HTTP/1.1\r\n{HOST}\r\n").reply().status == 200
        start = time.monotonic()
        assert wire.is_closed()
        assert 0.2 < time.monotonic() - start < 1.5


def test_500_slow_heads_disturb_nobody_and_go_in_time(start_echo):
    server = start_echo(head_timeout=2)
    worst_of(server, 20)
    before, quiet = server.memory(), server.descriptors()
    attackers = [Wire(server.address, source=f"127.0.0.{10 + i // 250}") for i in range(500)]
    start = time.monotonic()
    for wire in attackers:
        wire.send("GET /echo HTTP/1.1\r\nHost: loc")
    assert worst_of(server, 200) < 0.05
    assert server.memory() - before < 16 * MB
    assert eventually(lambda: server.descriptors() <= quiet + 1, within=2 + 2 - (time.monotonic() - start) + 1)
    assert attackers[0].reply().status == 408
    for wire in attackers:
        wire.socket.close()


def test_more_connections_than_allowed_push_out_the_idlest(start_echo):
    server = start_echo(connections=20, connections_per_address=0)
    busy = server.wire().send(post("/slow?ms=1500"))
    time.sleep(0.1)
    idle = [server.wire() for _ in range(40)]
    assert eventually(lambda: sum(wire.is_closed(within=0.01) for wire in idle[:10]) == 10)
    assert server.get("/echo").status == 200
    assert not idle[-1].is_closed(within=0.05)
    assert busy.reply().body == b"slow"  # who is being answered stays
    for wire in idle:
        wire.socket.close()


def test_who_sends_a_body_is_not_the_idlest(start_echo):
    """Although its connection is the oldest, and was idle before."""
    server = start_echo(connections=20, connections_per_address=0)
    sender = server.wire()
    idle = [server.wire() for _ in range(19)]
    assert idle[-1].send(f"GET /echo HTTP/1.1\r\n{HOST}\r\n").reply().status == 200  # all are there
    assert sender.send(post("/echo", "Content-Length: 5\r\nExpect: 100-continue\r\n")).reply().status == 100
    newcomers = [server.wire() for _ in range(10)]
    assert eventually(lambda: all(wire.is_closed(within=0.01) for wire in idle[:10]))
    assert sender.send("hello").reply().status == 200
    for wire in (*idle, *newcomers):
        wire.socket.close()


def test_when_all_are_being_answered_one_more_is_told_at_once(start_echo):
    server = start_echo(connections=4)
    busy = [server.wire().send(post("/slow?ms=800")) for _ in range(4)]
    time.sleep(0.2)
    start = time.monotonic()
    reply = server.wire().reply()
    assert reply.status == 503 and reply.error()["code"] == "too_many_connections" and "retry-after" in reply.headers
    assert time.monotonic() - start < 0.2
    assert [wire.reply().status for wire in busy] == [200] * 4


def test_memory_that_runs_out_costs_one_connection_and_no_more(start_echo):
    server = start_echo()
    with server.wire() as wire:
        will_fail = lambda: wire.send(f"GET /count HTTP/1.1\r\n{HOST}\r\n").reply().json()["next_large_fails"]
        assert not will_fail()  # this connection is there
        server.send("m")
        assert eventually(will_fail)
        assert server.wire().is_closed()
    assert server.get("/echo").status == 200
    assert "problem: connection: expected to take one more" in server.stop()


def test_one_address_cannot_take_all_connections(start_echo):
    server = start_echo(connections_per_address=5)
    held = [server.wire(source="127.0.0.5") for _ in range(5)]
    reply = server.wire(source="127.0.0.5").reply()
    assert reply.status == 429 and reply.error()["code"] == "too_many_connections"
    assert server.get("/echo", source="127.0.0.6").status == 200
    held.pop().socket.close()
    assert eventually(lambda: (r := server.get("/echo", source="127.0.0.5")) and r.status == 200)


def test_a_body_too_large_is_refused_before_it_is_there(start_echo):
    """Chunk by chunk, 50 MB where one is allowed; the client gets to read why although it goes on sending."""
    server = start_echo()
    server.post("/echo", b"x" * MB)
    before = server.memory()
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with server.wire() as wire:
        wire.send(post("/echo", "Transfer-Encoding: chunked\r\n"))
        for _ in range(800):
            wire.send(chunk)
        assert wire.reply().status == 413
        assert wire.is_closed()
    assert server.memory() - before < 4 * MB


def test_a_line_without_end_is_refused(start_echo):
    server = start_echo()
    server.get("/echo")
    before = server.memory()
    for beginning, status in ((b"", 414), (b"GET / HTTP/1.1\r\nX-A: ", 431)):
        with server.wire() as wire:
            wire.send(beginning)
            for _ in range(150):
                wire.send(b"a" * MB)
            reply = wire.reply()
            assert reply is None or reply.status == status  # a reset may overtake it, after so much
        assert server.ask(beginning + b"a" * 60_000).status == status
    assert server.memory() - before < 4 * MB


def test_a_compressed_bomb_is_not_opened(start_echo):
    server = start_echo()
    assert server.post("/echo", b"\x1f\x8b" * 40_000, "Content-Encoding: gzip\r\n").status == 415


def test_a_million_small_chunks_are_one_body(echo):
    body = "1\r\nx\r\n" * 100_000 + "0\r\n\r\n"
    assert len(echo.ask(post("/echo", "Transfer-Encoding: chunked\r\n", body)).json()["body"]) == 100_000


def test_bodies_together_have_a_limit(start_echo):
    server = start_echo(bodies_bytes=3 * MB)
    held = [server.wire().send(post("/echo", f"Content-Length: {MB}\r\n", "x" * (MB - 1))) for _ in range(3)]
    time.sleep(0.3)
    reply = server.post("/echo", b"x" * 1000)
    assert reply.status == 503 and "retry-after" in reply.headers and reply.error()["code"] == "busy"
    for wire in held:
        assert wire.send("x").reply().status == 200
    assert eventually(lambda: server.post("/echo", b"x" * MB).status == 200)


def test_a_body_counts_as_long_as_somebody_may_look_at_it(start_echo):
    """The client has gone, the endpoint has not noticed yet: the body is still there."""
    server = start_echo(bodies_bytes=3 * MB // 2)
    server.wire().send(post("/slow?ms=1000", f"Content-Length: {MB}\r\n", "x" * MB)).socket.close()
    assert eventually(lambda: server.get("/count").json()["closed"] == 1, within=0.5)
    assert server.post("/echo", b"x" * MB).status == 503
    assert eventually(lambda: server.post("/echo", b"x" * MB).status == 200)


def test_a_slow_reader_stops_its_own_stream_alone(start_echo):
    """100 MB asked for and not read: what waits is bounded, others stream on, and reading gets everything."""
    server = start_echo()
    server.post("/stream?n=100&bytes=10000")
    before = server.memory()
    with server.wire() as slow:
        slow.send(post("/stream?n=10000&bytes=10000"))
        time.sleep(0.5)
        assert server.memory() - before < 3 * MB
        assert worst_of(server, 50) < 0.05
        reply = slow.reply()
        assert reply.is_whole and reply.body.count(b"data: ") == 10_000
    assert server.memory() - before < 3 * MB


def test_a_reader_who_takes_nothing_is_dropped(start_echo):
    server = start_echo(write_timeout=0.5)
    with server.wire() as wire:
        wire.send(post("/stream?n=10000&bytes=10000"))
        assert eventually(lambda: server.get("/count").json()["closed"] == 1)
        assert not wire.reply().is_whole


@pytest.mark.parametrize("target", ["/stream?n=100&ms=50", "/slow?ms=60000", "/stream?n=100000&bytes=10000"])
def test_a_client_that_goes_is_noticed(start_echo, target):
    server = start_echo()
    quiet = server.descriptors()
    for how in (socket.SHUT_RDWR, None):
        before = server.get("/count").json()["closed"]
        wire = server.wire().send(post(target))
        time.sleep(0.1)
        if how is None:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        wire.socket.close()
        start = time.monotonic()
        assert eventually(lambda: server.get("/count").json()["closed"] == before + 1)
        assert time.monotonic() - start < 0.5
    assert eventually(lambda: server.descriptors() <= quiet)


def test_silent_event_streams_get_comments(start_echo):
    server = start_echo(keepalive=0.1)
    reply = server.post("/stream?n=1&ms=550")
    assert reply.is_whole and reply.body.startswith(b": keepalive\n\n" * 4)
    assert reply.body.count(b"data: ") == 1


def test_many_streams_at_once(start_echo):
    server = start_echo(connections_per_address=0)
    server.post("/stream?n=10&ms=1")
    before = server.descriptors()
    wires = [server.wire() for _ in range(200)]
    for wire in wires:
        wire.send(post("/stream?n=20&ms=20"))
    for i, wire in enumerate(wires):
        if i % 4 == 0:
            wire.socket.close()
    replies = [wire.reply() for i, wire in enumerate(wires) if i % 4]
    assert all(reply.is_whole and reply.body.count(b"data: ") == 20 for reply in replies)
    for wire in wires:
        wire.socket.close()
    assert eventually(lambda: server.descriptors() <= before)
    assert server.get("/count").json()["closed"] == 50


def test_draining(start_echo):
    server = start_echo()
    idle, used = server.wire(), server.wire()
    used.send(f"GET /echo HTTP/1.1\r\n{HOST}\r\n").reply()
    streaming = server.wire().send(post("/stream?n=10&ms=50"))
    slow = server.wire().send(post("/slow?ms=400"))
    time.sleep(0.1)
    server.send("d")
    assert used.is_closed()
    refused = server.post("/echo")
    assert refused.status == 503 and refused.error()["code"] == "draining" and "retry-after" in refused.headers
    assert server.get("/livez").status == 200
    reply = slow.reply()
    assert reply.body == b"slow" and reply.headers["connection"] == "close"
    reply = streaming.reply()
    assert reply.is_whole and reply.body.count(b"data: ") == 10
    assert streaming.is_closed()
    idle.socket.close()


def test_what_is_not_over_in_time_ends_in_an_error(start_echo):
    server = start_echo()
    streaming = server.wire().send(post("/stream?n=1000&ms=50"))
    slow = server.wire().send(post("/slow?ms=60000"))
    time.sleep(0.3)
    server.send("c")
    assert slow.reply().status == 503
    reply = streaming.reply()
    assert reply.is_whole and b'"type":"unavailable_error"' in reply.body.splitlines()[-2]
    assert server.get("/count").json()["closed"] == 2


def test_logs_tell_one_line_per_request_and_nothing_of_its_body(start_echo):
    server = start_echo(json_log=True)
    server.post("/echo", "my secret", "X-Request-Id: abc\r\n"
                "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n")
    server.get("/nothing?a=secret%0a")
    server.ask("rubbish\r\n\r\n")
    with server.wire() as wire:
        wire.send(post("/slow?ms=60000"))
        time.sleep(0.1)
    server.get("/count")
    log = server.stop()
    assert "secret" not in log
    lines = [json.loads(line) for line in log.splitlines()]
    assert [(line["method"], line["path"], line["status"]) for line in lines if line["path"] != "/count"] == [
        ("POST", "/echo", 200), ("GET", "/nothing", 404), ("-", "-", 400), ("POST", "/slow", 0)]
    first = lines[0]
    assert first["id"] == "abc" and first["trace"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert first["client"] == "127.0.0.1" and first["bytes"] > 0 and first["seconds"] >= 0
    assert (first["prompt_tokens"], first["cached_tokens"], first["generated_tokens"]) == (3, 2, 1)
    assert lines[3]["client_gone"] is True


def test_threads_of_clients_are_all_served(echo):
    failures = []

    def work(i):
        try:
            with echo.wire() as wire:
                for j in range(50):
                    body = f"{i}-{j}" * 50
                    assert wire.send(post("/echo", f"Content-Length: {len(body)}\r\n", body)).reply().json()["body"] == body
        except Exception as problem:
            failures.append(problem)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_log_that_nobody_reads_stops_nobody(start_echo):
    server = start_echo(requests_per_connection=5000)
    with server.wire() as wire:
        for _ in range(2000):
            assert wire.send(f"GET /echo HTTP/1.1\r\n{HOST}\r\n").reply().status == 200
    half = server.process.stderr.read1(1 << 20)
    assert server.get("/count").status == 200
    log = server.stop()
    assert "lines are missing here" in log
    assert 500 < len(half.splitlines()) < 2000
