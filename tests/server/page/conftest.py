"""The chat page in headless Chromium, before the mock server or, with $KL_PAGE_URL, before a real one."""
import json
import os
import urllib.request

import chromium
import mock_server
import pytest

URL = os.environ.get("KL_PAGE_URL")


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
        self.url, self.mock = process.url, process.mock
        self.set()
        self.mock.requests.clear()
        self.mock.seen.clear()
        self.mock.cancelled = 0

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


class Chat:
    """The page as a person uses it."""

    def __init__(self, page, url):
        self.page = page
        page.open(url)

    def say(self, text):
        """Sends a message, without waiting for the answer."""
        self.page.click("#message")
        self.page.type(text)
        self.page.press("Enter", ctrl=True)  # which sends on a phone too

    def ask(self, text):
        """Sends a message and waits until the answer is whole."""
        before = self.page.count(".message.assistant")
        self.say(text)
        self.page.wait(f"document.querySelectorAll('.message.assistant').length > {before}")
        return self.finish()

    def finish(self):
        """Waits until nothing runs; the last answer's text."""
        self.page.wait("document.getElementById('stop').hidden && !document.querySelector('.streaming')", 30)
        return self.page.evaluate("[...document.querySelectorAll('.message.assistant .body')].at(-1)?.innerText.trim()")

    def messages(self):
        return [text.strip() for text in self.page.texts(".message > .body")]

    def button(self, message, action):
        """Presses a button of the message-th message."""
        selector = f".message:nth-child({message + 1}) > footer [data-action={action}]"
        self.page.wait(f"!document.querySelector({json.dumps(selector)}).disabled")
        self.page.hover(f".message:nth-child({message + 1})")
        self.page.click(selector)


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
