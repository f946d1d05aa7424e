"""Draws the pictures of docs/chat-page.md.

    python3 screenshots.py FOLDER        those with texts to look at and tool calls: the mock server
    python3 screenshots.py FOLDER URL    chat-demo*.png: a `kl serve` with the bundled model, just started, at URL
"""
import pathlib
import sys
import time

import chromium
import mock_server
import page_driver

TOOLS = '[{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]'


def new_conversation(page):
    page.press("O", ctrl=True, shift=True)
    page.wait("document.querySelectorAll('.message').length === 0")


def converse(browser, url, **options):
    """A page with a few conversations; the last one is on screen."""
    chat = page_driver.Chat(browser.new_page(**options), url)
    for title in ("Plan a weekend in Zürich", "Proofread my abstract", "Regular expressions for dates"):
        chat.ask(title)
        new_conversation(chat.page)
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
    chat.page.hover("#message")
    chat.page.screenshot(folder / "chat-desktop.png")
    chat.page.prefer("dark")
    time.sleep(0.3)  # colours fade
    chat.page.press(",", ctrl=True)
    chat.page.screenshot(folder / "chat-desktop-dark.png")
    chat.page.close()


def tokens(browser, url, folder):
    chat = converse(browser, url)
    page = chat.page
    page.press("P", alt=True)
    new_conversation(page)
    chat.ask("A hybrid model keeps a state of fixed size, which blurs, and a cache that grows, which does not.")
    chat.ask("Say that in other words.")
    page.hover(".token:nth-child(8)")
    page.screenshot(folder / "chat-tokens.png")
    page.close()


def tools(browser, url, folder):
    chat = converse(browser, url, height=900)
    page = chat.page
    new_conversation(page)
    page.press(",", ctrl=True)
    page.evaluate("document.getElementById('setting-tools').focus()")
    page.type(TOOLS)
    page.press(",", ctrl=True)
    chat.ask("How is the weather?")
    page.click("#result-0")
    page.type('{"sky": "clear", "celsius": [21, 19, 23]}')
    page.screenshot(folder / "chat-tools.png")
    page.close()


def phone(browser, url, folder):
    chat = converse(browser, url, width=390, height=844, touch=True)
    chat.page.screenshot(folder / "chat-phone.png")
    chat.page.prefer("dark")
    time.sleep(0.3)  # colours fade
    chat.page.click("#toggle-sidebar")
    chat.page.wait("document.getElementById('sidebar').getBoundingClientRect().left === 0")
    chat.page.screenshot(folder / "chat-phone-dark.png")
    chat.page.close()


def demo(browser, url, folder):
    for name, size in (("chat-demo.png", {}), ("chat-demo-phone.png", {"width": 390, "height": 844, "touch": True})):
        chat = page_driver.Chat(browser.new_page(**size), url)
        page_driver.set_fields(chat.page, temperature="0", seed="1")
        chat.page.press(",", ctrl=True)
        for question in ("Who are you?", "Where is the king?"):
            chat.ask(question)
        chat.page.press("P", alt=True)
        chat.ask("What news from Rome?")
        chat.page.hover(".token:nth-child(3)")
        chat.page.screenshot(folder / name)
        chat.page.close()


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1])
    with chromium.Browser() as browser:
        if len(sys.argv) > 2:
            demo(browser, sys.argv[2], target)
        else:
            server = mock_server.serve()
            for draw in (desktop, tokens, tools, phone):
                draw(browser, server.url, target)
