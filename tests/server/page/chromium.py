"""Drives Debian's Chromium over the DevTools protocol, with nothing but the standard library.

    with Browser() as browser:
        page = browser.new_page(width=390, height=844, touch=True)     # a profile of its own
        page.open("http://127.0.0.1:8080/")
        page.click("#send");  page.type("text");  page.press("Enter", ctrl=True)
        page.wait("document.title === 'x'");  page.evaluate("1 + 1")
        page.problems        # errors on the console, exceptions, violations of the content security policy

The protocol runs through two pipes (--remote-debugging-pipe), as JSON texts that end in a zero byte.
Source    https://chromedevtools.github.io/devtools-protocol/
"""
import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

PROGRAM = shutil.which("chromium")
FLAGS = ["--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--mute-audio",
         "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb", "--lang=en-US",
         "--disable-features=BackForwardCache",  # a page left is a page gone
         # A desktop's mouse: Chromium without a screen has none, and media queries would say so.
         "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"]
TIMEOUT = 120  # seconds that any one thing may take: a busy machine is slow

KEY_CODES = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowUp": 38, "ArrowDown": 40, "ArrowLeft": 37, "ArrowRight": 39,
             "Delete": 46, "F2": 113, "Home": 36, "End": 35}


class Browser:
    """One Chromium process."""

    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="kl-chromium-")
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (theirs_in, theirs_out)]

        def place():  # the child reads commands from 3 and answers on 4
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        environment = {**os.environ, "TZ": "UTC"}
        self.process = subprocess.Popen([PROGRAM, *FLAGS, f"--user-data-dir={self.profile}", "about:blank"], pass_fds=(3, 4),
                                        preexec_fn=place, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, env=environment, start_new_session=True)
        for fd in (theirs_in, theirs_out, *high):
            os.close(fd)
        self.reader, self.writer = ours_in, ours_out
        self.buffer = b""
        self.last_id = 0
        self.replies = {}
        self.pages = {}  # session id -> Page

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close")
            self.process.wait(TIMEOUT)
        except (OSError, TimeoutError, EOFError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.reader)
        os.close(self.writer)
        shutil.rmtree(self.profile, ignore_errors=True)

    def call(self, method, session=None, **params):
        """Sends a command and waits for its answer."""
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.writer, data):]
        deadline = time.monotonic() + 3 * TIMEOUT
        while message["id"] not in self.replies:
            self.read(deadline)
        reply = self.replies.pop(message["id"])
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']}")
        return reply["result"]

    def read(self, deadline):
        """Takes what Chromium says, waiting for something until `deadline`."""
        ready, _, _ = select.select([self.reader], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError("chromium does not answer")
        data = os.read(self.reader, 1 << 20)
        if not data:
            raise EOFError("chromium has ended")
        *messages, self.buffer = (self.buffer + data).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self.replies[message["id"]] = message
            elif message.get("sessionId") in self.pages:
                self.pages[message["sessionId"]].on_event(message["method"], message["params"])

    def new_page(self, **options):
        return Page(self, **options)


class Page:
    """One tab with storage of its own.

    problems    what went wrong, as texts; refusals by status that a test provokes are in `failed_loads`
    requests    addresses of all requests
    """

    def __init__(self, browser, width=1280, height=800, touch=False, dark=False, scale=1):
        self.browser = browser
        self.problems, self.failed_loads, self.requests = [], [], []
        self.context = browser.call("Target.createBrowserContext")["browserContextId"]
        self.target = browser.call("Target.createTarget", url="about:blank", browserContextId=self.context)["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        browser.pages[self.session] = self
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source="""addEventListener("securitypolicyviolation", (e) =>
            console.error(`content security policy: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`))""")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        self.prefer("dark" if dark else "light")

    def close(self):
        self.browser.call("Target.disposeBrowserContext", browserContextId=self.context)
        del self.browser.pages[self.session]

    def call(self, method, **params):
        return self.browser.call(method, session=self.session, **params)

    def on_event(self, method, params):
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(f"exception: {details.get('exception', {}).get('description', details['text'])}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.problems.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            entry = params["entry"]
            kind = self.failed_loads if entry["source"] == "network" else self.problems
            kind.append(f"{entry['text']} {entry.get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def prefer(self, scheme):
        """What the system is set to: "light" or "dark"."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait("document.body?.dataset.ready === 'yes'")

    def forget(self, url):
        """Leaves the page and clears what it kept in this profile, as if it had never been opened."""
        self.evaluate("sessionStorage.clear()")
        self.call("Page.navigate", url="about:blank")
        self.wait("location.href === 'about:blank'")
        self.call("Storage.clearDataForOrigin", origin=url.rstrip("/"), storageTypes="all")
        self.call("Page.resetNavigationHistory")
        self.prefer("light")
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=0, y=0)
        self.problems, self.failed_loads, self.requests = [], [], []

    def reload(self):
        self.evaluate("document.body.dataset.ready = 'no'")
        self.call("Page.reload")
        self.wait("document.body?.dataset.ready === 'yes'")

    def evaluate(self, expression):
        """The value of a JavaScript expression, awaited if it is a promise."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True,
                           allowUnsafeEvalBlockedByCSP=False)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails'].get('exception', {}).get('description')}")
        return answer["result"].get("value")

    def wait(self, expression, seconds=TIMEOUT):
        """Waits until an expression is true, and answers its value."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                value = self.evaluate(f"(() => {{ try {{ const v = {expression}; return v instanceof Node || v }} catch {{ return false }} }})()")
            except RuntimeError:  # between two documents
                value = None
            if value:
                return value
            if time.monotonic() > deadline:
                text = self.evaluate("document.body.innerText")
                raise TimeoutError(f"not true after {seconds} s: {expression}\nproblems: {self.problems}\npage: {text}")
            time.sleep(0.02)

    def text(self, selector):
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText")

    def texts(self, selector):
        return self.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.innerText)")

    def count(self, selector):
        return self.evaluate(f"document.querySelectorAll({json.dumps(selector)}).length")

    def hover(self, selector):
        box = self.box(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])

    def click(self, selector):
        """Presses the mouse in the middle of an element, which must be what lies there."""
        x, y = self.box(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def box(self, selector):
        """The middle of an element, scrolled into view; waits until it is there and nothing covers it."""
        return self.wait(f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{ block: "nearest", behavior: "instant" }});
            const box = element.getBoundingClientRect();
            const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
            const hit = document.elementFromPoint(x, y);
            return box.width > 0 && (element.contains(hit) || hit?.contains(element)) && [x, y];
        }})()""")

    def type(self, text):
        self.call("Input.insertText", text=text)

    def press(self, key, ctrl=False, shift=False, alt=False):
        """A key by its name ("Enter", "ArrowUp") or its character."""
        code = KEY_CODES.get(key, ord(key.upper()) if len(key) == 1 else 0)
        modifiers = alt * 1 + ctrl * 2 + shift * 8
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers,
                  "code": f"Key{key.upper()}" if len(key) == 1 and key.isalpha() else key}
        text = "\r" if key == "Enter" else key if len(key) == 1 and not (ctrl or alt) else ""
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **common, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))
