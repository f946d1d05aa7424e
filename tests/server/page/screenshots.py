"""Draws the pictures of docs/chat-page.md: python3 screenshots.py FOLDER.  They are of the mock server."""
import pathlib
import sys

import chromium
import conftest
import mock_server

TOOLS = '[{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]'


def converse(browser, url, **options):
    """A page with a few conversations; the last one is on screen."""
    chat = conftest.Chat(browser.new_page(**options), url)
    for title in ("Plan a weekend in Zürich", "Proofread my abstract", "Regular expressions for dates"):
        chat.ask(title)
        chat.page.press("O", ctrl=True, shift=True)
        chat.page.wait("document.querySelectorAll('.message').length === 0")
    chat.ask("How does KDA remember?")
    return chat


def rename(chat, title):
    chat.page.evaluate("document.querySelector('.conversation a').focus()")
    chat.page.press("F2")
    chat.page.evaluate("document.querySelector('.conversation input').select()")
    chat.page.type(title)
    chat.page.press("Enter")
    chat.page.click("#message")


def desktop(browser, url, folder):
    chat = converse(browser, url)
    rename(chat, "How KDA remembers")
    chat.page.screenshot(folder / "chat-desktop.png")
    chat.page.prefer("dark")
    chat.page.press(",", ctrl=True)
    chat.page.screenshot(folder / "chat-desktop-dark.png")
    chat.page.close()


def features(browser, url, folder):
    """Token probabilities, and a tool call."""
    chat = converse(browser, url)
    page = chat.page
    page.press("P", alt=True)
    page.press("O", ctrl=True, shift=True)
    page.wait("document.querySelectorAll('.message').length === 0")
    page.press(",", ctrl=True)
    page.evaluate("document.getElementById('setting-tools').focus()")
    page.type(TOOLS)
    page.press(",", ctrl=True)
    chat.ask("Say this with all your doubts: a hybrid model keeps a state of fixed size, and a cache that grows.")
    chat.ask("And what is the weather in Zürich?")
    page.hover(".token:nth-child(12)")
    page.screenshot(folder / "chat-tokens-tools.png")
    page.close()


def phone(browser, url, folder):
    chat = converse(browser, url, width=390, height=844, touch=True)
    chat.page.screenshot(folder / "chat-phone.png")
    chat.page.prefer("dark")
    chat.page.click("#toggle-sidebar")
    chat.page.wait("document.getElementById('sidebar').getBoundingClientRect().left === 0")
    chat.page.screenshot(folder / "chat-phone-dark.png")
    chat.page.close()


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1])
    server = mock_server.serve()
    with chromium.Browser() as browser:
        for draw in (desktop, features, phone):
            draw(browser, server.url, target)
