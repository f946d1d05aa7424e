"""The chat page in headless Chromium, before the mock server."""
import json
import urllib.request

import pytest

from . import chromium, mock_server
from .page_driver import Chat


@pytest.fixture(scope="session")
def browser():
    if chromium.PROGRAM is None:
        pytest.skip("chromium is not installed")
    with chromium.Browser() as running:
        yield running


@pytest.fixture(scope="session")
def mock_process():
    server = mock_server.serve()
    yield server
    server.shutdown()


class Server:
    """The mock server as one test uses it."""

    def __init__(self, process):
        self.url = process.url
        self.mock = process.RequestHandlerClass.mock = mock_server.Mock()
        self.mock.patience = 60

    def set(self, **values):
        """key=..., busy=number of refusals"""
        request = urllib.request.Request(self.url + "mock", json.dumps(values).encode(), method="POST")
        urllib.request.urlopen(request).close()

    @property
    def last(self):
        """What the page asked last."""
        return self.mock.requests[-1]


@pytest.fixture
def server(mock_process):
    return Server(mock_process)


def check(page, url):
    """Nothing went wrong that the page should have prevented, and nobody but the server was asked for anything."""
    assert page.problems == []
    assert [request for request in page.requests if not request.startswith((url, "blob:", "about:"))] == []


@pytest.fixture
def new_chat(browser):
    """new_chat(url, width=390, touch=True, ...) -> Chat in a profile of its own."""
    pages = []

    def make(url, **options):
        page = browser.new_page(**options)
        pages.append((page, url))
        return Chat(page, url)

    yield make
    try:
        for page, url in pages:
            check(page, url)
    finally:
        for page, _ in pages:
            page.close()


@pytest.fixture(scope="session")
def desktop(browser):
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture
def chat(desktop, server):
    """A fresh conversation with the mock server, on a desktop.  Tests share the page, which forgets all between them: a
    new one costs a second."""
    chat = Chat(desktop, server.url)
    yield chat
    try:
        check(desktop, server.url)
    finally:
        desktop.forget(server.url)


@pytest.fixture(scope="module")
def workbench(browser, mock_process):
    """A page whose modules a test imports and calls."""
    page = browser.new_page()
    page.open(mock_process.url)
    yield page
    page.close()
