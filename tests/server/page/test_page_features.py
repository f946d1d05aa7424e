"""Settings, tools, token probabilities, errors, keyboard, phone, colours."""
import json

import pytest

from .page_driver import set_fields

TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]


# --- settings ---------------------------------------------------------------------------------------------------------

def test_settings_reach_the_request_in_the_apis_form(chat, server):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    set_fields(chat.page, system="Be brief.", temperature="0.5", top_p="0.9", top_k="40", min_p="0.1", presence_penalty="-0.5",
               frequency_penalty="0.5", repetition_penalty="1.1", max_tokens="100", seed="7", stop="END\nSTOP",
               response_format="json_schema", schema=json.dumps(schema), tools=json.dumps(TOOLS), tool_choice="required")
    chat.ask("hello")
    asked = server.last
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
    expected = {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "presence_penalty": -0.5, "frequency_penalty": 0.5,
                "repetition_penalty": 1.1, "max_tokens": 100, "seed": 7, "stop": ["END", "STOP"], "tools": TOOLS,
                "tool_choice": "required",
                "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}}
    assert {key: asked.get(key) for key in expected} == expected


def test_empty_settings_leave_everything_to_the_server(chat, server):
    chat.ask("hello")
    assert set(server.last) == {"model", "messages", "stream", "stream_options"}


def test_server_defaults_show_as_placeholders(chat):
    chat.page.wait("document.getElementById('setting-temperature').placeholder === '0.7'")
    placeholder = lambda key: chat.page.evaluate(f"document.getElementById('setting-{key}').placeholder")
    assert [placeholder(key) for key in ("repetition_penalty", "max_tokens", "seed")] == ["1", "no limit", "random"]


def test_impossible_setting_is_named_and_nothing_is_sent(chat, server):
    set_fields(chat.page, temperature="9")
    assert chat.page.text("#setting-temperature-error") == "expected 0 to 2, got 9"
    chat.say("hello")
    chat.page.wait("document.activeElement.id === 'setting-temperature'")
    assert server.mock.requests == []
    set_fields(chat.page, temperature="1")
    chat.ask("")
    assert server.last["messages"] == [{"role": "user", "content": "hello"}]


# --- tools ------------------------------------------------------------------------------------------------------------

def test_tool_calls_are_cards_and_results_go_back(chat, server):
    page = chat.page
    set_fields(page, tools=json.dumps(TOOLS))
    chat.ask("the weather")
    assert page.texts(".tool-name") == ["get_weather", "get_time"]
    assert json.loads(page.texts(".tool pre")[0]) == {"city": "Zürich", "days": 3}
    assert "\n" in page.texts(".tool pre")[0]
    for i, result in enumerate(('{"sky": "clear"}', "noon")):
        page.click(f"#result-{i}")
        page.type(result)
    page.click(".results .primary")
    page.wait("document.querySelectorAll('.message.assistant').length === 2")
    assert chat.finish() == "The tool says: noon"
    sent = server.last["messages"]
    assert [m["role"] for m in sent] == ["user", "assistant", "tool", "tool"]
    assert sent[1]["content"] is None
    assert sent[1]["tool_calls"][0] == {"id": "functions.get_weather:0", "type": "function",
                                        "function": {"name": "get_weather", "arguments": '{"city": "Zürich", "days": 3}'}}
    assert sent[2] == {"role": "tool", "tool_call_id": "functions.get_weather:0", "content": '{"sky": "clear"}'}


# --- probabilities ----------------------------------------------------------------------------------------------------

def test_token_probabilities_by_mouse_and_keyboard(chat, server):
    page = chat.page
    page.press("P", alt=True)
    assert page.evaluate("document.getElementById('probabilities').getAttribute('aria-checked')") == "true"
    chat.ask("how likely is é?")
    assert (server.last["logprobs"], server.last["top_logprobs"]) == (True, 5)
    assert "".join(page.texts(".token")).replace("⋯", "").strip() == "You said: how likely is é?"
    page.hover(".token:nth-child(2)")
    page.wait("!document.getElementById('token-tip').hidden")
    assert page.count("#token-tip tr") == 5 and page.count("#token-tip tr.chosen") == 1
    assert "6.00 %" in page.text("#token-tip tr.chosen")
    page.evaluate("document.querySelector('.token').focus()")
    page.press("ArrowRight")
    page.press("ArrowRight")
    assert page.evaluate("document.activeElement === document.querySelectorAll('.token')[2]")
    assert "72.0 %" in page.text("#token-tip tr.chosen")
    page.press("P", alt=True)
    page.wait("document.querySelector('.message.assistant .body').classList.contains('markdown')")


# --- errors -----------------------------------------------------------------------------------------------------------

def test_key_is_asked_for_sent_and_not_kept_beyond_the_tab(chat, server):
    page = chat.page
    server.set(key="secret")
    chat.say("hello")
    page.wait("document.querySelector('.error.key')")
    page.click(".error .primary")
    page.wait("document.activeElement.id === 'api-key'")
    page.type("secret")
    page.press("Tab")
    page.evaluate("document.querySelector('.error button:nth-of-type(2)').click()")
    page.wait("document.querySelectorAll('.message.assistant').length === 1")
    assert chat.finish() == "You said: hello"
    assert page.evaluate("JSON.stringify(localStorage).includes('secret')") is False
    assert page.evaluate("sessionStorage.getItem('kl-api-key')") == "secret"


def test_busy_server_is_asked_again_when_it_said(chat, server):
    server.set(busy=1)
    chat.page.evaluate("""new MutationObserver(() => window.refusal ??= document.querySelector(".error")?.innerText).observe(
        document.body, { childList: true, subtree: true })""")  # which is there for a second only
    chat.say("busy")
    chat.page.wait("window.refusal?.includes('Retry in 1 s')")
    chat.page.wait("document.querySelectorAll('.message.assistant').length === 1")
    assert chat.finish() == "You said: busy"
    assert chat.page.count(".error") == 0 and len(server.mock.requests) == 2


def test_refused_field_is_named(chat):
    chat.say("refuse")
    chat.page.wait("document.querySelector('.error.refused')")
    assert "temperature: expected 0 to 2, got 9" in chat.page.text(".error")
    chat.page.click(".error [aria-label=Dismiss]")
    chat.page.wait("!document.querySelector('.error')")


def test_lost_connection_keeps_what_came_and_can_be_retried(chat, server):
    page = chat.page
    chat.say("break")
    page.wait("document.querySelector('.message.assistant .body').innerText.trim() === 'You said:'")
    server.mock.go.set()
    page.wait("document.querySelector('.error.lost')")
    page.wait("document.querySelector('.stats').textContent.includes('broken off')")
    assert chat.messages() == ["break", "You said:"]
    page.click(".error .primary")
    page.wait("document.querySelector('.versions')?.innerText === '2/2'")
    assert chat.finish() == "You said: break"
    assert page.count(".error") == 0 and len(server.mock.requests) == 2


# --- keyboard, phone, colours -----------------------------------------------------------------------------------------

def test_everything_by_keyboard(chat):
    page = chat.page
    chat.ask("first")
    page.press("ArrowUp", alt=True)
    page.press("ArrowUp", alt=True)
    assert page.evaluate("document.activeElement.className").startswith("message user")
    page.press("e")
    page.wait("document.querySelector('.editor')")
    page.press("Escape")
    page.wait("!document.querySelector('.editor')")
    page.press("ArrowDown", alt=True)
    page.press("r")
    page.wait("document.querySelector('.versions')?.innerText === '2/2'")
    chat.finish()
    page.press("/")
    assert page.evaluate("document.activeElement.id") == "message"
    page.press("ArrowUp")
    page.wait("document.querySelector('.editor')")
    page.press("Escape")
    page.press("?")
    page.wait("document.getElementById('shortcuts').open")
    assert "Ctrl" in page.text("#shortcuts") and "New conversation" in page.text("#shortcuts")
    page.press("Escape")
    page.wait("!document.getElementById('shortcuts').open")
    page.press("B", ctrl=True)
    page.wait("document.getElementById('sidebar').hidden")


def test_tab_reaches_every_control_and_each_has_a_name(chat):
    page = chat.page
    chat.ask("first")
    page.press(",", ctrl=True)
    nameless = page.evaluate("""[...document.querySelectorAll("button, a, input, textarea, select")].filter((e) => e.checkVisibility() &&
        !(e.getAttribute("aria-label") || e.labels?.length || e.innerText.trim())).map((e) => e.outerHTML)""")
    assert nameless == []
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(50):
        page.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.dataset.action || document.activeElement.tagName"))
    assert {"new-conversation", "theme", "import", "export", "show-shortcuts", "status", "probabilities", "toggle-settings",
            "copy", "edit", "regenerate", "message", "send", "api-key", "setting-temperature", "reset-settings"} <= reached


def test_screen_readers_hear_sentences(chat):
    chat.ask("one. two.")
    chat.page.wait("document.getElementById('announcements').innerText.includes('Answer complete.')")
    assert "You said: one. two." in chat.page.text("#announcements")


def test_phone(new_chat, server):
    chat = new_chat(server.url, width=390, height=844, touch=True, scale=2)
    page = chat.page
    assert chat.ask("remember").startswith("KDA keeps")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.click("#toggle-sidebar")
    page.wait("!document.getElementById('sidebar').hidden && document.getElementById('conversation').inert")
    page.wait("document.getElementById('sidebar').getBoundingClientRect().left === 0")
    page.call("Input.dispatchMouseEvent", type="mousePressed", x=380, y=400, button="left", clickCount=1)
    page.call("Input.dispatchMouseEvent", type="mouseReleased", x=380, y=400, button="left", clickCount=1)
    page.wait("document.getElementById('sidebar').hidden && !document.getElementById('conversation').inert")
    page.click("#toggle-settings")
    page.wait("!document.getElementById('settings').hidden")
    small = page.evaluate("""[...document.querySelectorAll("input, textarea, select")].filter((e) => e.checkVisibility() &&
        parseFloat(getComputedStyle(e).fontSize) < 16).map((e) => e.id)""")
    assert small == []


@pytest.mark.parametrize("system", ["light", "dark"])
def test_colours_follow_the_system_until_switched(chat, system):
    page = chat.page
    page.prefer(system)
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    colours = {"light": "rgb(250, 249, 246)", "dark": "rgb(23, 23, 22)"}
    becomes = lambda scheme: page.wait(f"{ground} === {json.dumps(colours[scheme])}")
    becomes(system)
    page.click("#theme")
    becomes("light")
    page.click("#theme")
    becomes("dark")
    page.reload()
    assert page.evaluate(ground) == colours["dark"]


@pytest.mark.parametrize("dark", [False, True])
def test_text_contrast_is_at_least_4_5(new_chat, server, dark):
    chat = new_chat(server.url, dark=dark)
    chat.ask("remember")
    chat.page.press(",", ctrl=True)
    poor = chat.page.evaluate("""(() => {
        const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
        const paint = (colours) => { for (const c of colours) { canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); } return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); };
        const light = (rgb) => rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const poor = [];
        for (const e of document.querySelectorAll("body *")) {
            if (!e.checkVisibility({ opacityProperty: true }) || e.closest(".visually-hidden, .skip, :disabled") || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
            const grounds = [];
            for (let at = e; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor);
            const [a, b] = [light(paint(grounds)), light(paint([...grounds, getComputedStyle(e).color]))];
            const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (contrast < 4.5) poor.push(`${contrast.toFixed(2)} ${e.outerHTML.slice(0, 80)}`);
        }
        return poor;
    })()""")
    assert poor == []
