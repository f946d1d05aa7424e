"""The program: what it prints, how it starts and ends, and whether its health tells the truth."""
import ctypes
import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import time

import pytest
from raw_http import KL, ROOT, Server, eventually

HOST = "Host: localhost\r\n"


def serve(*flags, env=None):
    return Server([KL, "serve", "--port", "0", *flags], env)


@pytest.fixture(scope="module")
def server():
    running = serve()
    yield running
    running.stop()
    assert running.process.returncode == 0


def refused(*flags, env=None):
    """Status and message of a start that fails."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KL_")} | (env or {})
    port = [] if "--port" in flags else ["--port", "0"]
    result = subprocess.run([KL, "serve", *port, *map(str, flags)], capture_output=True, timeout=20, env=environment)
    return result.returncode, result.stderr.decode()


def test_one_line_says_where(server):
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.url)
    assert server.get("/livez").json() == {"status": "ok"}
    assert server.get("/readyz").json() == {"status": "ok"}
    assert server.get("/health").json() == {"status": "ok"}


def test_metrics_are_what_prometheus_reads(server):
    server.get("/nothing")
    reply = server.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = reply.body.decode()
    assert text.endswith("\n")
    types, values = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types
            types[name] = kind
        elif not line.startswith("# HELP "):
            match = re.fullmatch(r'([a-z_0-9]+)(\{[a-z_]+="[^"\\]*"\})? (-?[0-9.e+-]+)', line)
            assert match, line
            name = match[1]
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name.startswith("kl_") and (types.get(name) in ("counter", "gauge") or types.get(base) == "histogram")
            assert types.get(name) != "counter" or name.endswith("_total")
            assert name + (match[2] or "") not in values
            values[name + (match[2] or "")] = float(match[3])
    assert values["kl_ready"] == 1 and values["kl_num_requests_running"] == 0
    assert values['kl_http_responses_total{status="404"}'] >= 1
    assert values["kl_http_connections"] >= 1
    buckets = [float(v) for k, v in values.items() if k.startswith("kl_time_to_first_token_seconds_bucket")]
    assert buckets == sorted(buckets) and len(buckets) == 23
    for name in ("kl_prompt_tokens_total", "kl_generation_tokens_total", "kl_kv_cache_usage_perc", "kl_num_preemptions_total",
                 "kl_prefix_cache_hits_total", "kl_inter_token_latency_seconds_count", "kl_e2e_request_latency_seconds_sum",
                 "kl_request_queue_time_seconds_sum"):
        assert name in values


def test_flags_that_cannot_be(tmp_path):
    (tmp_path / "empty").write_text("# nothing\n\n")
    for flags, status, message in [
            (["--port", "70000"], 2, "--port: expected a whole number from 0 to 65535"),
            (["--parallel", "0"], 2, "--parallel"),
            (["--cache-bytes", "4X"], 2, "--cache-bytes: expected bytes"),
            (["--cache-bytes", "9999999T"], 2, "--cache-bytes: expected bytes"),
            (["--head-timeout", "0"], 2, "--head-timeout"),
            (["--log-format", "xml"], 2, "--log-format: expected text or json"),
            (["--host", "192.0.2.1"], 2, "--host, --port: expected an address that is free"),
            (["--api-key", ""], 2, "--api-key"),
            (["--api-key-file", tmp_path / "none"], 3, "none"),
            (["--api-key-file", tmp_path / "empty"], 3, "expected an API key on a line"),
            (["--ssl-key-file", tmp_path / "empty"], 2, "expected both or none"),
            (["-m", tmp_path], 3, str(tmp_path))]:
        assert (got := refused(*flags))[0] == status and message in got[1], (flags, got)


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, message = refused("--port", port)
    assert status == 2 and f"127.0.0.1:{port}" in message


def test_flags_come_from_the_environment():
    server = serve(env={"KL_API_KEY": "sk-env", "KL_LOG_FORMAT": "json", "KL_PARALLEL": "2"})
    assert server.get("/metrics").status == 401
    assert server.get("/metrics", "Authorization: Bearer sk-env\r\n").status == 200
    assert server.get("/readyz").status == 200
    time.sleep(0.1)
    log = server.stop()
    assert [json.loads(line)["status"] for line in log.splitlines()] == [401, 200, 200] and "sk-env" not in log
    assert refused(env={"KL_PARALLEL": "many"})[0] == 2


def test_np_is_parallel():
    server = serve("-np", "3")
    assert server.get("/props").json()["total_slots"] == 3
    server.stop()
    status, message = refused("-np", "0")
    assert status == 2 and "--parallel: expected a whole number from 1 to 1024, got 0" in message


def test_keys_come_from_a_file(tmp_path):
    (tmp_path / "keys").write_text("# team\nsk-one\r\n\nsk-two\n")
    server = serve("--api-key-file", tmp_path / "keys", "--api-key", "sk-three")
    for key, status in (("sk-one", 200), ("sk-two", 200), ("sk-three", 200), ("# team", 401), ("", 401)):
        assert server.get("/metrics", f"X-Api-Key: {key}\r\n").status == status
    server.stop()


def test_every_path_of_the_program_but_health_asks_for_a_key():
    """The paths are those a server without a key knows: whatever is added is asked here too."""
    server = serve("--api-key", "sk-one")
    paths = ["/", "/metrics", "/props", "/slots", "/slots/0", "/v1/models", "/v1/models/demo", "/v1/chat/completions", "/v1/completions",
             "/v1/responses", "/v1/responses/x", "/v1/messages", "/v1/messages/count_tokens", "/tokenize", "/detokenize",
             "/apply-template", "/completion", "/nothing", "/livez/", "/READYZ", "//readyz", "/readyz%2f"]
    for path in paths:
        for method in ("GET", "POST", "OPTIONS"):
            reply = server.get(path, method=method)
            assert reply.status == 401, (method, path)
    for path in ("/livez", "/readyz", "/health"):
        assert server.get(path).status == 200
    server.stop()


def test_a_warning_where_anybody_may_ask():
    open_to_all = serve("--host", "0.0.0.0")
    guarded = serve("--host", "0.0.0.0", "--api-key", "sk-one")
    local = serve()
    assert "anybody who reaches this address" in open_to_all.stop()
    assert "anybody" not in guarded.stop() and "anybody" not in local.stop()


def test_few_descriptors_mean_few_connections():
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))

    process = subprocess.Popen([KL, "serve", "--port", "0"], preexec_fn=limit, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    port = int(process.stdout.readline().split()[0].rsplit(b":", 1)[1])
    wires = [socket.create_connection(("127.0.0.1", port)) for _ in range(250)]
    with socket.create_connection(("127.0.0.1", port), timeout=5) as wire:
        wire.sendall(f"GET /readyz HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n".encode())
        assert wire.recv(100).startswith(b"HTTP/1.1 200 ")
    for wire in wires:
        wire.close()
    process.terminate()
    assert b"200 descriptors are allowed (ulimit -n), so 136 instead of 4096" in process.communicate(timeout=10)[1]


def test_what_does_not_fit_is_refused_and_the_flags_to_lower_are_named():
    status, message = refused("-c", 1_000_000_000, "--parallel", 3)
    assert status == 4
    assert re.search(r"memory: expected .* free for 3 texts of 1000000000 tokens, got .* GB; lower -c to \d+, --parallel \(3\), "
                     r"--cache-bytes \(.*\), or take --cache-type int8", message), message


def test_a_folder_for_sessions_that_is_not_there_is_named(tmp_path):
    run = subprocess.run([KL, "serve", "--port", "0", "--slot-save-path", tmp_path / "absent"], capture_output=True, text=True,
                         timeout=20)
    assert run.returncode == 3 and "absent: expected a folder (--slot-save-path), got none" in run.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(number):
    server = serve()
    with server.wire() as wire:
        wire.send(f"GET /readyz HTTP/1.1\r\n{HOST}\r\n").reply()
        start = time.monotonic()
        server.process.send_signal(number)
        assert wire.is_closed()
        assert server.process.wait(5) == 0
        assert time.monotonic() - start < 2


def test_the_log_says_what_a_request_cost():
    server = serve("--log-format", "json")
    usage = server.post("/v1/completions", json.dumps({"prompt": "ROMEO:", "max_tokens": 5})).json()["usage"]
    assert eventually(lambda: server.get("/metrics").body.count(b"kl_generation_tokens_total 5"))
    line = next(line for line in map(json.loads, server.stop().splitlines()) if line["method"] == "POST")
    assert line["prompt_tokens"] == usage["prompt_tokens"] > 0 and line["generated_tokens"] == usage["completion_tokens"] == 5
    assert line["cached_tokens"] == usage["prompt_tokens_details"]["cached_tokens"]


def test_a_client_that_goes_counts_as_aborted():
    server = serve()
    with server.wire() as wire:
        body = json.dumps({"prompt": "ROMEO:", "max_tokens": 4000, "stream": True, "ignore_eos": True})
        wire.send(f"POST /v1/completions HTTP/1.1\r\n{HOST}Content-Length: {len(body)}\r\n\r\n{body}")
        assert wire.socket.recv(1000)
    assert eventually(lambda: b'kl_request_success_total{finished_reason="abort"} 1\n' in server.get("/metrics").body)
    assert re.search(r" /v1/completions 200 .* generated=\d+ client-gone\n", server.stop())


def test_a_prompt_is_scored_from_where_it_is_asked_to_and_the_rest_comes_from_the_cache(server):
    head, tail = (server.post("/tokenize", json.dumps({"content": text})).json()["tokens"]
                  for text in ("KING HENRY: Once more unto the breach, dear friends, once more", " Or close the wall up"))
    ask = lambda **more: server.post("/v1/completions", json.dumps({"max_tokens": 0, "echo": True, "logprobs": 2, **more})).json()
    server.post("/v1/completions", json.dumps({"prompt": head, "max_tokens": 1}))  # leaves a checkpoint
    whole, some = ask(prompt=head + tail), ask(prompt=head + tail, score_from=len(head))
    cached = [reply["usage"]["prompt_tokens_details"]["cached_tokens"] for reply in (whole, some)]
    assert cached[0] == 0 and 0 < cached[1] < len(head)
    for name in ("token_logprobs", "top_logprobs"):
        known, found = (reply["choices"][0]["logprobs"][name] for reply in (whole, some))
        assert found[:len(head)] == [None] * len(head) and found[len(head):] == known[len(head):] and None not in known[1:]


# --- health -------------------------------------------------------------------------------------------------------------

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207


def threads(pid, name):
    return [int(task.name) for task in pathlib.Path(f"/proc/{pid}/task").iterdir() if (task / "comm").read_text().strip() == name]


def engine_thread(pid):
    """A server may answer before its thread has got to giving itself a name."""
    for _ in range(200):
        if found := threads(pid, "kl-engine"):
            return found[0]
        time.sleep(0.05)
    raise AssertionError("expected a thread named kl-engine, got none within 10 s")


def halt(thread):
    """Stops one thread of another process, as if it hung; it goes on when this process ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        if libc.ptrace(request, thread, None, None) != 0:
            pytest.skip(f"ptrace is not allowed here: {os.strerror(ctypes.get_errno())}")


def reap(thread):
    """Once its process has ended, a halted thread waits for this one to notice."""
    wait_for_threads = 0x40000000
    try:
        os.waitpid(thread, os.WNOHANG | wait_for_threads)
    except ChildProcessError:
        pass


def test_health_tells_when_the_engine_hangs_and_the_program_ends():
    server = serve("--stall-timeout", "1", "--lost-timeout", "4")
    assert server.get("/readyz").status == 200
    engine = engine_thread(server.process.pid)
    halt(engine)
    start = time.monotonic()
    assert eventually(lambda: server.get("/readyz").status == 503, within=5)
    assert time.monotonic() - start < 2
    assert server.get("/health").error()["code"] == "engine_failed"
    assert server.get("/livez").status == 200
    assert b"kl_ready 0" in server.get("/metrics").body
    assert eventually(lambda: reap(engine) or server.process.poll() is not None, within=10)
    assert server.process.returncode == 1
    assert 3 < time.monotonic() - start < 8
    assert "has failed or hangs" in server.process.stderr.read().decode()


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_signal_ends_it_although_the_engine_hangs(is_busy):
    server = serve("--lost-timeout", "2")
    with server.wire() as wire:
        if is_busy:
            body = json.dumps({"prompt": "ROMEO:", "max_tokens": 4000, "stream": True, "ignore_eos": True})
            wire.send(f"POST /v1/completions HTTP/1.1\r\n{HOST}Content-Length: {len(body)}\r\n\r\n{body}")
            assert wire.socket.recv(1000)
        engine = engine_thread(server.process.pid)
        halt(engine)
        server.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: reap(engine) or server.process.poll() is not None, within=10)
    assert server.process.returncode == 1
    assert "has failed or hangs" in server.process.stderr.read().decode()


def test_a_process_that_stood_still_is_not_taken_for_one_that_hangs():
    server = serve("--stall-timeout", "0.8", "--lost-timeout", "0.8")
    assert server.get("/readyz").status == 200
    for _ in range(3):
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(1)  # is what is tested
        server.process.send_signal(signal.SIGCONT)
        assert server.get("/readyz").status == 200
    server.stop()
    assert server.process.returncode == 0


def test_limits_of_health_hold_by_default():
    manual = subprocess.run([KL, "serve", "--help"], capture_output=True, text=True).stdout
    stall = float(re.search(r"--stall-timeout SECONDS = ([0-9.]+)", manual)[1])
    lost = float(re.search(r"--lost-timeout SECONDS = ([0-9.]+)", manual)[1])
    assert stall < 5 and lost < 29


def test_the_bundled_model_is_served_without_any_flag():
    """Where nothing listens at 8080 yet."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8080)) == 0:
            pytest.skip("something listens at port 8080")
    server = Server([KL, "serve"])
    try:
        assert server.url == "http://127.0.0.1:8080" and (ROOT / "models/demo").is_dir()
        assert server.get("/readyz").status == 200
    finally:
        server.stop()
