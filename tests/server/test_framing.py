"""Where requests begin and end, and what is no request: every case has one right status."""
import time

import pytest

HOST = "Host: localhost\r\n"


def get(lines="", target="/echo", version="HTTP/1.1", method="GET"):
    return f"{method} {target} {version}\r\n{HOST}{lines}\r\n"


def post(lines, body="", target="/echo"):
    return f"POST {target} HTTP/1.1\r\n{HOST}{lines}\r\n{body}"


def chunked(body, lines="Transfer-Encoding: chunked\r\n"):
    return post(lines, body)


# RFC 9112 and 9110, section by section: name, request, status.
CASES = [
    # 2.2 message parsing
    ("plain", get(), 200),
    ("an empty line before the request", "\r\n" + get(), 200),
    ("two empty lines before the request", "\r\n\r\n" + get(), 400),
    ("bare LF after the request line", f"GET /echo HTTP/1.1\n{HOST}\r\n", 400),
    ("bare LF after a field", "GET /echo HTTP/1.1\r\nHost: localhost\n\r\n", 400),
    ("bare LF at the end", f"GET /echo HTTP/1.1\r\n{HOST}\n", 400),
    ("bare CR in a field", get("X-A: a\rb\r\n"), 400),
    ("bare CR in the request line", f"GET /echo\rx HTTP/1.1\r\n{HOST}\r\n", 400),
    ("space before the first field", f"GET /echo HTTP/1.1\r\n X: y\r\n{HOST}\r\n", 400),
    # 2.3 version
    ("HTTP/1.0", get(version="HTTP/1.0"), 200),
    ("HTTP/1.0 without host", "GET /echo HTTP/1.0\r\n\r\n", 200),
    ("HTTP/1.9 is read as 1.1", get(version="HTTP/1.9"), 200),
    ("HTTP/2.0", get(version="HTTP/2.0"), 505),
    ("HTTP/0.9", get(version="HTTP/0.9"), 505),
    ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("lower-case version", get(version="http/1.1"), 400),
    ("no version", f"GET /echo\r\n{HOST}\r\n", 400),
    ("short version", get(version="HTTP/1"), 400),
    ("long version", get(version="HTTP/1.10"), 400),
    ("other protocol", get(version="RTSP/1.0"), 400),
    # 3 request line
    ("two spaces", f"GET  /echo HTTP/1.1\r\n{HOST}\r\n", 400),
    ("tab instead of space", f"GET\t/echo HTTP/1.1\r\n{HOST}\r\n", 400),
    ("space at the end", f"GET /echo HTTP/1.1 \r\n{HOST}\r\n", 400),
    ("space in the target", f"GET /ec ho HTTP/1.1\r\n{HOST}\r\n", 400),
    ("no method", f" /echo HTTP/1.1\r\n{HOST}\r\n", 400),
    ("method with a colon", f"GE:T /echo HTTP/1.1\r\n{HOST}\r\n", 400),
    ("unknown method", get(method="BREW"), 501),
    ("lower-case method", get(method="get"), 501),
    ("method no path has", get(method="PATCH"), 405),
    ("TRACE", get(method="TRACE"), 405),
    ("CONNECT", f"CONNECT localhost:80 HTTP/1.1\r\n{HOST}\r\n", 501),
    ("not HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("empty target", f"GET  HTTP/1.1\r\n{HOST}\r\n", 400),
    # 3.2 target
    ("absolute form", get(target="http://localhost/echo"), 200),
    ("absolute form, other scheme", get(target="ftp://localhost/echo"), 400),
    ("absolute form, no host", get(target="http:///echo"), 400),
    ("absolute form without a host field", "GET http://localhost/echo HTTP/1.1\r\n\r\n", 200),
    ("asterisk form", get(target="*", method="OPTIONS"), 204),
    ("asterisk form of GET", get(target="*"), 400),
    ("authority form of GET", get(target="localhost:80"), 400),
    ("fragment", get(target="/echo#x"), 400),
    ("relative target", get(target="echo"), 400),
    ("byte beyond ASCII in the target", get(target="/echo\xe9"), 400),
    ("percent-encoded path", get(target="/%65cho"), 200),
    ("percent without digits", get(target="/echo%"), 400),
    ("percent with wrong digits", get(target="/echo%zz"), 400),
    ("percent-encoded NUL", get(target="/echo%00"), 400),
    ("percent without digits in the query", get(target="/echo?a=%2"), 400),
    ("unknown path", get(target="/nothing"), 404),
    ("parent folders", get(target="/../../etc/passwd"), 404),
    ("encoded parent folders", get(target="/%2e%2e/%2e%2e/etc/passwd"), 404),
    ("target as long as allowed", get(target="/echo?" + "a" * (8192 - 6)), 200),
    ("target a byte too long", get(target="/echo?" + "a" * (8192 - 5)), 414),
    ("target far too long", get(target="/" + "a" * 100_000), 414),
    # 3.2 host
    ("no host", "GET /echo HTTP/1.1\r\n\r\n", 400),
    ("two hosts", get("Host: localhost\r\n"), 400),
    ("empty host", "GET /echo HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("host with a path", "GET /echo HTTP/1.1\r\nHost: localhost/x\r\n\r\n", 400),
    ("host with a user", "GET /echo HTTP/1.1\r\nHost: a@localhost\r\n\r\n", 400),
    ("host with a bad port", "GET /echo HTTP/1.1\r\nHost: localhost:8x\r\n\r\n", 400),
    ("host of another site", "GET /echo HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
    ("host in brackets", "GET /echo HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200),
    # 5 fields
    ("space before the colon", get("X-A : b\r\n"), 400),
    ("no colon", get("X-A\r\n"), 400),
    ("no name", get(": b\r\n"), 400),
    ("folded line", get("X-A: b\r\n c\r\n"), 400),
    ("line folded with a tab", get("X-A: b\r\n\tc\r\n"), 400),
    ("NUL in a value", get("X-A: a\0b\r\n"), 400),
    ("NUL in a name", get("X-\0A: b\r\n"), 400),
    ("control character in a value", get("X-A: a\x01b\r\n"), 400),
    ("delete in a value", get("X-A: a\x7fb\r\n"), 400),
    ("tab in a value", get("X-A: a\tb\r\n"), 200),
    ("byte beyond ASCII in a value", get("X-A: \xe9\r\n"), 200),
    ("byte beyond ASCII in a name", get("X-\xe9: a\r\n"), 400),
    ("empty value", get("X-A:\r\n"), 200),
    ("no space after the colon", get("X-A:b\r\n"), 200),
    ("100 fields", get("".join(f"X-{i}: a\r\n" for i in range(99))), 200),
    ("101 fields", get("".join(f"X-{i}: a\r\n" for i in range(100))), 431),
    ("20,000 fields", get("".join(f"X-{i}: a\r\n" for i in range(20_000))), 431),
    ("field too long", get(f"X-A: {'a' * 20_000}\r\n"), 431),
    ("two content types", post("Content-Length: 0\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n"), 400),
    # 6.1 transfer-encoding
    ("chunked", chunked("5\r\nhello\r\n0\r\n\r\n"), 200),
    ("chunked in capitals", chunked("5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: CHUNKED\r\n"), 200),
    ("gzip, chunked", chunked("0\r\n\r\n", "Transfer-Encoding: gzip, chunked\r\n"), 501),
    ("gzip, chunked in two fields", chunked("0\r\n\r\n", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"), 501),
    ("chunked twice", chunked("0\r\n\r\n", "Transfer-Encoding: chunked, chunked\r\n"), 400),
    ("chunked, gzip", chunked("0\r\n\r\n", "Transfer-Encoding: chunked, gzip\r\n"), 400),
    ("identity", chunked("", "Transfer-Encoding: identity\r\n"), 400),
    ("xchunked", chunked("0\r\n\r\n", "Transfer-Encoding: xchunked\r\n"), 400),
    ("chunked with a parameter", chunked("0\r\n\r\n", "Transfer-Encoding: chunked;a=b\r\n"), 400),
    ("chunked in quotes", chunked("0\r\n\r\n", 'Transfer-Encoding: "chunked"\r\n'), 400),
    ("chunked after a vertical tab", chunked("0\r\n\r\n", "Transfer-Encoding: \x0bchunked\r\n"), 400),
    ("empty transfer-encoding", chunked("", "Transfer-Encoding:\r\n"), 400),
    ("length beside chunked", chunked("0\r\n\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400),
    ("chunked beside length", chunked("0\r\n\r\n", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400),
    ("chunked in HTTP/1.0", f"POST /echo HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    # 6.2 content-length
    ("length", post("Content-Length: 5\r\n", "hello"), 200),
    ("length 0", post("Content-Length: 0\r\n"), 200),
    ("leading zeros", post("Content-Length: 005\r\n", "hello"), 200),
    ("no length is none", post(""), 200),
    ("two equal lengths", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), 400),
    ("two different lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), 400),
    ("a list of lengths", post("Content-Length: 5, 5\r\n", "hello"), 400),
    ("negative length", post("Content-Length: -5\r\n"), 400),
    ("length with a plus", post("Content-Length: +5\r\n", "hello"), 400),
    ("hexadecimal length", post("Content-Length: 0x5\r\n", "hello"), 400),
    ("empty length", post("Content-Length:\r\n"), 400),
    ("length with a point", post("Content-Length: 5.0\r\n", "hello"), 400),
    ("length with a space", post("Content-Length: 1 0\r\n", "hello"), 400),
    ("length above the limit", post("Content-Length: 1048577\r\n"), 413),
    ("length of 2^63", post("Content-Length: 9223372036854775808\r\n"), 413),
    ("length of 2^64", post("Content-Length: 18446744073709551616\r\n"), 413),
    ("length where the path takes no body", get("Content-Length: 1\r\n"), 413),
    # 7.1 chunks
    ("chunk extension", chunked("5;a=b\r\nhello\r\n0\r\n\r\n"), 200),
    ("chunk extension after a space", chunked("5 ;a=b\r\nhello\r\n0\r\n\r\n"), 200),
    ("trailers", chunked("5\r\nhello\r\n0\r\nX-A: b\r\n\r\n"), 200),
    ("upper-case size", chunked("A\r\nhellohello\r\n0\r\n\r\n"), 200),
    ("size -2", chunked("-2\r\nhello\r\n0\r\n\r\n"), 400),
    ("size +2", chunked("+2\r\nhe\r\n0\r\n\r\n"), 400),
    ("size 0x5", chunked("0x5\r\nhello\r\n0\r\n\r\n"), 400),
    ("size with an underscore", chunked("1_0\r\nhello\r\n0\r\n\r\n"), 400),
    ("empty size", chunked("\r\nhello\r\n0\r\n\r\n"), 400),
    ("size in words", chunked("five\r\nhello\r\n0\r\n\r\n"), 400),
    ("size after a space", chunked(" 5\r\nhello\r\n0\r\n\r\n"), 400),
    ("size of 2^64", chunked("10000000000000000\r\nhello\r\n0\r\n\r\n"), 413),
    ("size of 2^64 - 1", chunked("ffffffffffffffff\r\nhello\r\n0\r\n\r\n"), 413),
    ("size above the limit", chunked("100001\r\n"), 413),
    ("sizes that sum to more than the limit", chunked("fffff\r\n" + "a" * 0xfffff + "\r\n2\r\n"), 413),
    ("bare LF after a size", chunked("5\nhello\r\n0\r\n\r\n"), 400),
    ("bare LF after a chunk", chunked("5\r\nhello\n0\r\n\r\n"), 400),
    ("chunk longer than its size", chunked("5\r\nhello!\r\n0\r\n\r\n"), 400),
    ("control character in an extension", chunked("5;a=\x01\r\nhello\r\n0\r\n\r\n"), 400),
    ("extension too long", chunked(f"5;a={'b' * 20_000}\r\nhello\r\n0\r\n\r\n"), 400),
    ("extensions too long together", chunked(f"1;a={'b' * 100}\r\nx\r\n" * 200 + "0\r\n\r\n"), 400),
    ("broken trailer", chunked("0\r\nX-A\r\n\r\n"), 400),
    ("trailers too long", chunked("0\r\n" + f"X-A: {'b' * 100}\r\n" * 200 + "\r\n"), 400),
    # 9110: content, expectations
    ("gzip body", post("Content-Length: 5\r\nContent-Encoding: gzip\r\n", "hello"), 415),
    ("identity body", post("Content-Length: 5\r\nContent-Encoding: identity\r\n", "hello"), 200),
    ("unknown expectation", post("Content-Length: 5\r\nExpect: 200-ok\r\n", "hello"), 417),
]


@pytest.mark.parametrize("name, request_bytes, status", CASES, ids=[case[0] for case in CASES])
def test_every_request_gets_its_status(echo, name, request_bytes, status):
    reply = echo.ask(request_bytes)
    assert reply is not None and reply.status == status
    assert reply.is_whole
    if status >= 400:
        reply.error()
        assert reply.headers["x-request-id"]


@pytest.mark.parametrize("name, request_bytes, status", CASES, ids=[case[0] for case in CASES])
def test_a_refused_request_is_not_read_on(echo, name, request_bytes, status):
    """What follows a request whose end is in doubt is never taken for another one."""
    smuggled = get("Connection: close\r\n", target="/item/smuggled")
    with echo.wire() as wire:
        wire.send(request_bytes + smuggled)
        first, second = wire.reply(), wire.reply()
    if first.headers.get("connection") == "close":
        assert second is None
    else:  # the end was beyond doubt
        assert status not in (400, 408, 413, 414, 415, 417, 431, 505)
        assert second.json()["path"] == "/item/smuggled"


def test_the_same_requests_byte_by_byte_get_the_same_status(echo):
    for name, request, status in CASES:
        if len(request) > 600 or name == "not HTTP at all":
            continue
        with echo.wire() as wire:
            wire.socket.setsockopt(6, 1, 1)  # TCP_NODELAY
            for byte in request.encode("latin-1"):
                wire.send(bytes([byte]))
            reply = wire.reply()
        assert reply is not None and reply.status == status, name


@pytest.mark.parametrize("cut", [1, 5, 17, 40, 61, 80])
def test_a_request_that_stops_in_the_middle_harms_nobody(echo, cut):
    with echo.wire() as wire:
        wire.send(post("Content-Length: 50\r\n", "hello")[:cut])
        wire.socket.shutdown(1)
        assert wire.is_closed()
    assert echo.get("/echo").status == 200


def test_pipelined_requests_are_answered_in_order(echo):
    requests = "".join(post("Content-Length: 1\r\n", str(i), f"/echo?n={i}") for i in range(9))
    with echo.wire() as wire:
        wire.send(requests)
        for i in range(9):
            seen = wire.reply().json()
            assert seen["body"] == str(i) and seen["query"] == [["n", str(i)]]


def test_a_slow_reply_does_not_overtake(echo):
    with echo.wire() as wire:
        wire.send(post("Content-Length: 0\r\n", target="/slow?ms=300") + get())
        assert wire.reply().body == b"slow"
        assert wire.reply().json()["path"] == "/echo"


def test_a_body_is_asked_for_where_a_client_waits(echo):
    with echo.wire() as wire:
        wire.send(post("Content-Length: 5\r\nExpect: 100-continue\r\n"))
        assert wire.reply().status == 100
        wire.send("hello")
        assert wire.reply().json()["body"] == "hello"
        wire.send(post("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n"))
        assert wire.reply().status == 100
        wire.send("5\r\nhello\r\n0\r\n\r\n")
        assert wire.reply().json()["body"] == "hello"


def test_a_body_that_will_be_refused_is_not_asked_for(echo):
    for target, length, status in (("/echo", 2_000_000, 413), ("/nothing", 5, 404), ("/count", 5, 405)):
        with echo.wire() as wire:
            wire.send(post(f"Content-Length: {length}\r\nExpect: 100-continue\r\n", target=target))
            assert wire.reply().status == status
            assert wire.is_closed()


def test_head_is_get_without_the_body(echo):
    with echo.wire() as wire:
        full = wire.send(get()).reply()
        bare = wire.send(get(method="HEAD")).reply(is_head=True)
        assert bare.status == 200 and int(bare.headers["content-length"]) > 100
        again = wire.send(get()).reply()
        assert again.json()["path"] == full.json()["path"]


def test_options_and_wrong_methods_say_what_a_path_takes(echo):
    assert echo.get("/echo", method="OPTIONS").headers["allow"] == "GET, HEAD, POST, OPTIONS"
    assert echo.get("/echo", method="OPTIONS").status == 204
    wrong = echo.get("/count", method="DELETE")
    assert wrong.status == 405 and wrong.headers["allow"] == "GET, HEAD, OPTIONS"
    assert wrong.error()["code"] == "method_not_allowed"
    assert echo.get("/nothing", method="OPTIONS").status == 404


def test_paths_with_parts(echo):
    assert echo.get("/item/a%2eb").json()["path"] == "/item/a.b"
    assert echo.get("/item/").status == 404
    assert echo.get("/item/a/b").status == 404
    assert echo.get("/item/a%2fb").status == 404
    assert echo.get("/rest/a/b").json()["path"] == "/rest/a/b"
    assert echo.get("/rest/").status == 404


def test_queries_are_decoded(echo):
    assert echo.get("/echo?a=b+c&d=%26&e&=f&&g=%C3%A9").json()["query"] == [
        ["a", "b c"], ["d", "&"], ["e", ""], ["", "f"], ["g", "\u00e9"]]


def test_an_absolute_target_decides_the_host(echo):
    request = "GET http://localhost:99/echo HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    assert ["host", "localhost:99"] in echo.ask(request).json()["headers"]
    assert echo.ask("GET http://evil.example/echo HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 403


def test_old_clients_get_replies_they_can_read(echo):
    head = f"HTTP/1.0\r\n{HOST}"
    with echo.wire() as wire:
        reply = wire.send(f"GET /echo {head}Connection: keep-alive\r\n\r\n").reply()
        assert reply.headers["connection"] == "keep-alive"
        reply = wire.send(f"GET /echo {head}\r\n").reply()
        assert reply.headers["connection"] == "close" and wire.is_closed()
    reply = echo.ask(f"POST /stream?n=3 {head}Content-Length: 0\r\n\r\n")
    assert "transfer-encoding" not in reply.headers and reply.body.count(b"data: ") == 3


def test_a_connection_ends_after_its_last_request(start_echo):
    server = start_echo(requests_per_connection=3)
    with server.wire() as wire:
        for i in range(3):
            reply = wire.send(get()).reply()
            assert (reply.headers.get("connection") == "close") == (i == 2)
        assert wire.is_closed()


def test_fields_of_a_reply_cannot_be_forged(echo):
    reply = echo.get("/echo?echo=a%0d%0aX-Evil:%20b")
    assert reply.headers["x-echo"] == "a  X-Evil: b"
    assert "x-evil" not in reply.headers


def test_request_ids_come_back(echo):
    assert echo.get("/echo", "X-Request-Id: my-id_1.2\r\n").headers["x-request-id"] == "my-id_1.2"
    for bad in ("a b", "a" * 200, "a;b", ""):
        assert echo.get("/echo", f"X-Request-Id: {bad}\r\n").headers["x-request-id"].startswith("req-")


def test_every_reply_tells_browsers_to_keep_out(echo):
    for reply in (echo.get("/echo"), echo.get("/nothing"), echo.ask("x\r\n\r\n"), echo.post("/stream")):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert "server" not in reply.headers
        time.strptime(reply.headers["date"], "%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize("how, status, param", [("argument", 400, "top_p"), ("busy", 429, None), ("memory", 503, None),
                                                ("other", 500, None)])
def test_what_an_endpoint_throws_becomes_a_reply(echo, how, status, param):
    reply = echo.post(f"/fail?how={how}")
    assert reply.status == status and reply.error()["param"] == param
    assert b"secret internal" not in reply.body
    assert ("retry-after" in reply.headers) == (status in (429, 503))


def test_a_stream_that_fails_ends_in_an_error(echo):
    reply = echo.post("/fail?how=stream")
    assert reply.status == 200 and reply.is_whole
    assert reply.body.startswith(b'data: 1\n\ndata: {"error":') and b"secret" not in reply.body
