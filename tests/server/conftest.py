import signal

import pytest
import raw_http

# As tests/cli/conftest.py: what ran in the background hands ignored signals on, and the server leaves them ignored.
for name in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    if signal.getsignal(name) == signal.SIG_IGN:
        signal.signal(name, signal.SIG_DFL)


@pytest.fixture(scope="module")
def echo():
    """A server with usual limits and endpoints that do nothing."""
    server = raw_http.echo_server()
    yield server
    log = server.stop()
    assert server.process.returncode == 0, log


@pytest.fixture
def start_echo():
    """start_echo(idle_timeout=1, ...) -> a server with other limits"""
    servers = []

    def start(**options):
        servers.append(raw_http.echo_server(**options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
