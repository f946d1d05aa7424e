"""Who may ask: keys, names, origins, TLS, sockets with a path."""
import base64
import os
import random
import socket
import ssl
import stat
import statistics
import subprocess
import time

import pytest
from raw_http import Wire, echo_server

KEY = "sk-right-key-0123456789"
ROUTES = [("GET", "/echo"), ("POST", "/echo"), ("HEAD", "/echo"), ("OPTIONS", "/echo"), ("DELETE", "/echo"), ("GET", "/item/a"),
          ("GET", "/rest/a"), ("POST", "/stream"), ("POST", "/slow"), ("POST", "/fail"), ("GET", "/count"), ("GET", "/nothing")]


@pytest.fixture(scope="module")
def guarded():
    server = echo_server(api_keys=["another", KEY])
    yield server
    server.stop()


def basic(password):
    return "Authorization: Basic " + base64.b64encode(f"anybody:{password}".encode()).decode() + "\r\n"


@pytest.mark.parametrize("method, path", ROUTES)
def test_every_path_asks_for_a_key(guarded, method, path):
    with guarded.wire() as wire:
        wire.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
        reply = wire.reply(is_head=method == "HEAD")
    assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer"
    if method != "HEAD":
        assert reply.error()["code"] == "invalid_api_key"


def test_health_is_public(guarded):
    assert guarded.get("/livez").status == 200
    assert guarded.get("/livez", "Authorization: Bearer wrong\r\n").status == 200
    assert guarded.post("/livez").status == 401


@pytest.mark.parametrize("field", [
    f"Authorization: Bearer {KEY}\r\n", f"authorization: bearer   {KEY}  \r\n", f"X-Api-Key: {KEY}\r\n",
    "Authorization: Bearer another\r\n", basic(KEY), f"X-Api-Key: wrong\r\nAuthorization: Bearer {KEY}\r\n"])
def test_a_right_key_opens(guarded, field):
    assert guarded.get("/echo", field).status == 200


@pytest.mark.parametrize("field", [
    "Authorization: Bearer \r\n", "Authorization:\r\n", f"Authorization: Bearer {KEY[:-1]}\r\n", f"Authorization: Bearer {KEY}x\r\n",
    f"Authorization: {KEY}\r\n", f"Authorization: Token {KEY}\r\n", f"Authorization: Bearer {KEY.upper()}\r\n", "X-Api-Key:\r\n",
    f"X-Api-Key: Bearer {KEY}\r\n", basic("wrong"), basic(""), "Authorization: Basic !!!!\r\n", "Authorization: Basic YQ\r\n",
    "Authorization: Basic YWFh\r\n", f"X-Api-Key: {KEY}\r\nAuthorization: Bearer wrong\r\n", f"Cookie: {KEY}\r\n"])
def test_a_wrong_key_does_not(guarded, field):
    assert guarded.get("/echo", field).status == 401


def test_two_keys_are_one_too_many(guarded):
    assert guarded.get("/echo", f"Authorization: Bearer wrong\r\nAuthorization: Bearer {KEY}\r\n").status == 400


def test_a_body_without_a_key_is_not_read(guarded):
    with guarded.wire() as wire:
        wire.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        assert wire.reply().status == 401
        assert wire.is_closed()


def test_a_browser_that_shows_a_page_asks_its_person(guarded):
    reply = guarded.get("/nothing", "Accept: text/html,*/*\r\n")
    assert reply.status == 401 and reply.headers["www-authenticate"].startswith("Basic ")


def test_keys_are_in_no_log(start_echo):
    server = start_echo(api_keys=[KEY])
    server.get("/echo", f"Authorization: Bearer {KEY}\r\n")
    server.get(f"/echo?key={KEY}")
    server.get("/echo", f"Authorization: Bearer {KEY}x\r\n")
    time.sleep(0.1)  # the line comes after the reply
    log = server.stop()
    assert len(log.splitlines()) == 3 and KEY not in log


def test_a_wrong_key_takes_as_long_however_near_it_is(guarded):
    """Wrong in the first letter or in the last: Welch's t over interleaved samples.  (The comparison is of digests.)"""
    times = {"first": [], "last": []}
    wrong = {"first": "x" + KEY[1:], "last": KEY[:-1] + "x"}
    dice = random.Random(1)
    with guarded.wire() as wire:
        for _ in range(900):
            where = dice.choice(["first", "last"])
            start = time.perf_counter_ns()
            wire.send(f"GET /echo HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {wrong[where]}\r\n\r\n").reply()
            times[where].append(time.perf_counter_ns() - start)
    kept = {where: sorted(samples)[: len(samples) * 9 // 10] for where, samples in times.items()}
    a, b = kept["first"], kept["last"]
    spread = statistics.variance(a) / len(a) + statistics.variance(b) / len(b)
    assert abs(statistics.mean(a) - statistics.mean(b)) / spread**0.5 < 4.5


# --- names --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080"])
def test_loopback_answers_to_its_names(echo, host):
    assert echo.ask(f"GET /echo HTTP/1.1\r\nHost: {host}\r\n\r\n").status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:8080", "127.0.0.2",
                                  "0.0.0.0", "[::2]", "localhost."])
def test_loopback_answers_to_no_other(echo, host):
    """A page of evil.example may make its name point at 127.0.0.1; the browser then sends that name."""
    reply = echo.ask(f"GET /echo HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert reply.status == 403 and reply.error()["code"] == "host_not_allowed"
    assert echo.ask(f"GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n").status == 403


def test_names_can_be_given(start_echo):
    server = start_echo(hosts=["kl.example"])
    assert server.ask("GET /echo HTTP/1.1\r\nHost: KL.example:99\r\n\r\n").status == 200
    assert server.ask("GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 403


def test_a_server_for_others_answers_to_any_name(start_echo):
    server = start_echo(host="0.0.0.0")
    assert Wire(("127.0.0.1", server.address[1])).send("GET /echo HTTP/1.1\r\nHost: any.example\r\n\r\n").reply().status == 200


# --- origins ------------------------------------------------------------------------------------------------------------

def test_pages_of_other_origins_may_not_ask(echo):
    for origin in ("https://evil.example", "null", "http://localhost:1", "localhost", ""):
        reply = echo.post("/echo", "x", f"Origin: {origin}\r\nContent-Type: text/plain\r\n")
        assert reply.status == 403 and reply.error()["code"] == "origin_not_allowed"
        assert "access-control-allow-origin" not in reply.headers
    preflight = echo.get("/echo", "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n", method="OPTIONS")
    assert preflight.status == 403


def test_the_servers_own_page_may(echo):
    assert echo.post("/echo", "x", "Origin: http://localhost\r\n").status == 200


def test_origins_can_be_allowed(start_echo):
    server = start_echo(cors_origins=["https://good.example"], api_keys=[KEY])
    good, key = "Origin: https://good.example\r\n", f"X-Api-Key: {KEY}\r\n"
    reply = server.post("/echo", "x", good + key)
    assert reply.status == 200 and reply.headers["access-control-allow-origin"] == "https://good.example"
    assert reply.headers["vary"] == "Origin"
    assert server.post("/echo", "x", good).status == 401
    preflight = server.get("/echo", good + "Access-Control-Request-Method: POST\r\n"
                           "Access-Control-Request-Headers: authorization, content-type\r\n", method="OPTIONS")
    assert preflight.status == 204 and preflight.headers["access-control-allow-headers"] == "authorization, content-type"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert server.post("/echo", "x", "Origin: https://evil.example\r\n" + key).status == 403
    assert "access-control-allow-origin" not in server.get("/echo", key).headers
    for lines, body, status in ((f"Content-Length: {1 << 30}\r\n", "", 413), ("Transfer-Encoding: chunked\r\n", "x\r\n", 400),
                                ("Content-Length: 1\r\nContent-Length: 2\r\n", "", 400)):
        refused = server.ask(f"POST /echo HTTP/1.1\r\nHost: localhost\r\n{good}{key}{lines}\r\n{body}")
        assert refused.status == status and refused.headers["access-control-allow-origin"] == "https://good.example"


def test_all_origins_can_be_allowed(start_echo):
    reply = start_echo(cors_origins=["*"]).post("/echo", "x", "Origin: https://any.example\r\n")
    assert reply.headers["access-control-allow-origin"] == "https://any.example"


# --- TLS ----------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out",
                    folder / "cert.pem"], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def tls_server(certificate):
    server = echo_server(key_file=str(certificate / "key.pem"), cert_file=str(certificate / "cert.pem"), head_timeout=1)
    yield server
    server.stop()


def test_tls(tls_server, certificate):
    assert tls_server.url.startswith("https://")
    context = ssl.create_default_context(cafile=certificate / "cert.pem")
    with tls_server.wire(tls=context) as wire:
        assert wire.socket.version() == "TLSv1.3"
        for size in (0, 10, 900_000):
            wire.send(f"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n" + "x" * size)
            assert len(wire.reply().json()["body"]) == size
        wire.send("POST /stream?n=500&bytes=10000 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        reply = wire.reply()
        assert reply.is_whole and reply.body.count(b"data: ") == 500


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_before_1_2_is_refused(tls_server, certificate):
    context = ssl.create_default_context(cafile=certificate / "cert.pem")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        tls_server.wire(tls=context)


def test_a_client_that_speaks_no_tls_is_dropped(tls_server):
    with tls_server.wire() as wire:
        wire.send("GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wire._fill()  # an alert
        assert b"HTTP" not in wire.buffer
    with tls_server.wire() as wire:  # says nothing
        start = time.monotonic()
        assert wire.is_closed()
        assert time.monotonic() - start < 2.5


def test_a_tls_client_that_goes_is_noticed(tls_server, certificate):
    context = ssl.create_default_context(cafile=certificate / "cert.pem")
    with tls_server.wire(tls=context) as other:
        def closed():
            return other.send("GET /count HTTP/1.1\r\nHost: localhost\r\n\r\n").reply().json()["closed"]
        before = closed()
        wire = tls_server.wire(tls=context)
        wire.send("POST /stream?n=100&ms=50 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        time.sleep(0.1)
        wire.socket.close()
        end = time.monotonic() + 1
        while closed() == before:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_key_and_certificate_must_be_right(certificate, tmp_path):
    (tmp_path / "rubbish.pem").write_text("rubbish")
    key, cert, rubbish, none = certificate / "key.pem", certificate / "cert.pem", tmp_path / "rubbish.pem", tmp_path / "none.pem"
    for given, name in ((dict(key_file=str(key)), "--ssl-cert-file"), (dict(key_file=str(key), cert_file=str(none)), "none.pem"),
                        (dict(key_file=str(rubbish), cert_file=str(cert)), "rubbish.pem"),
                        (dict(key_file=str(key), cert_file=str(rubbish)), "rubbish.pem"),
                        (dict(key_file=str(cert), cert_file=str(cert)), "cert.pem")):
        with pytest.raises(AssertionError, match=name):
            echo_server(**given)


# --- sockets with a path ------------------------------------------------------------------------------------------------

def test_a_unix_socket(tmp_path):
    path = tmp_path / "kl.sock"
    server = echo_server(host=str(path), connections_per_address=1)
    assert server.url == f"unix:{path}"
    assert stat.S_IMODE(os.stat(path).st_mode) & 0o007 == 0
    with server.wire(), server.wire():  # addresses do not count here
        assert server.ask("GET /echo HTTP/1.1\r\nHost: any.example\r\n\r\n").status == 200
    with pytest.raises(AssertionError, match="a server listens there"):
        echo_server(host=str(path))
    server.process.kill()
    server.process.wait()
    again = echo_server(host=str(path))  # what a killed one left is in nobody's way
    assert again.get("/echo").status == 200
    again.stop()
    assert not path.exists()


def test_a_unix_socket_replaces_nothing_else(tmp_path):
    (tmp_path / "kl.sock").write_text("precious")
    with pytest.raises(AssertionError, match="something else is there"):
        echo_server(host=str(tmp_path / "kl.sock"))
    assert (tmp_path / "kl.sock").read_text() == "precious"
    with pytest.raises(AssertionError, match="too long"):
        echo_server(host=f"/tmp/{'a' * 200}.sock")


def test_localhost_listens_at_all_its_addresses(start_echo):
    server = start_echo(host="localhost")
    port = server.address[1]
    addresses = {info[4][0] for info in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)}
    for address in addresses:
        assert Wire((address, port)).send("GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n").reply().status == 200


def test_an_address_that_is_taken_or_not_ours_is_named(start_echo):
    with pytest.raises(AssertionError, match="--host, --port: expected an address that is free, got 192.0.2.1:0"):
        echo_server(host="192.0.2.1")
    with pytest.raises(AssertionError, match="no.such.host.invalid"):
        echo_server(host="no.such.host.invalid")
