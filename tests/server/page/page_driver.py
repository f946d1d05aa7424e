"""The chat page as a person uses it."""
import json


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


def stored_messages(page):
    """The messages in the browser's database, by conversation: [[node, ...], ...]."""
    return page.evaluate("""(async () => {
        const come = (request) => new Promise((done, fail) => { request.onsuccess = () => done(request.result); request.onerror = fail; });
        const database = await come(indexedDB.open("kl-chat"));
        const conversations = await come(database.transaction("conversations").objectStore("conversations").getAll());
        database.close();
        return conversations.map((conversation) => conversation.nodes);
    })()""")


def set_fields(page, **values):
    """Types values into the settings panel."""
    if page.evaluate("document.getElementById('settings').hidden"):
        page.press(",", ctrl=True)
    for key, value in values.items():
        page.evaluate(f"document.getElementById('setting-{key}').focus()")
        if page.evaluate("document.activeElement.tagName") == "SELECT":
            page.evaluate(f"""(() => {{ document.activeElement.value = {json.dumps(value)};
                              document.activeElement.dispatchEvent(new Event("input", {{ bubbles: true }})); }})()""")
        else:
            page.evaluate("document.activeElement.select()")
            page.type(value)
