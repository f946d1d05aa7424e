import pytest
import raw_http


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
