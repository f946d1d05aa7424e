"""The page before `kl serve` itself: $KL_PAGE_URL names one that runs, else $KL_PROGRAM starts one with the bundled model."""
import json
import os
import signal
import subprocess

import pytest
from raw_http import eventually

from .page_driver import set_fields, stored_messages

URL, PROGRAM = os.environ.get("KL_PAGE_URL"), os.environ.get("KL_PROGRAM")


@pytest.fixture(scope="module")
def real_url():
    if URL:
        yield URL.rstrip("/") + "/"
        return
    if not PROGRAM:
        pytest.skip("neither KL_PAGE_URL nor KL_PROGRAM is set")
    if subprocess.run([PROGRAM, "serve", "--help"], capture_output=True, timeout=60).returncode != 0:
        pytest.skip(f"{PROGRAM} has no command serve")
    process = subprocess.Popen([PROGRAM, "serve", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        url = process.stdout.readline().split(" ")[0]  # "http://127.0.0.1:41234 serves ..."
        assert url.startswith("http"), "kl serve ended before it served"
        yield url.rstrip("/") + "/"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.fixture
def real_chat(new_chat, real_url):
    """A conversation whose answers are short and, at temperature 0, the same each time."""
    chat = new_chat(real_url)
    page = chat.page
    page.wait("document.getElementById('status').dataset.state === 'ok'")
    set_fields(page, temperature="0", max_tokens="24")
    page.press(",", ctrl=True)
    return chat


def test_answers_are_the_same_again_and_from_the_cache(real_chat):
    page = real_chat.page
    first = real_chat.ask("To be, or not to be?")
    assert page.text("#model") != ""
    assert "tokens/s" in page.text(".stats") and "cached" in page.text(".stats")
    real_chat.button(1, "regenerate")
    page.wait("document.querySelector('.message.assistant .versions')?.innerText === '2/2'")
    assert real_chat.finish() == first
    assert "prompt: 0 of" not in page.text(".stats")
    real_chat.ask("Say more.")
    assert "prompt: 0 of" not in page.texts(".stats")[-1]


def test_tokens_make_up_the_answer(real_chat):
    page = real_chat.page
    page.press("P", alt=True)
    real_chat.ask("Who is there?")
    assert eventually(lambda: [nodes[-1].get("state") for nodes in stored_messages(page)] == ["done"], within=20)
    [[_, kept]] = stored_messages(page)
    assert kept["content"] != "" and "".join(token["text"] for token in kept["tokens"]).startswith(kept["content"])
    assert page.count(".token") > 0
    page.hover(".token")
    page.wait("document.querySelectorAll('#token-tip tr').length >= 5")


def test_json_by_a_schema(real_chat):
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    set_fields(real_chat.page, response_format="json_schema", schema=json.dumps(schema))
    assert json.loads(real_chat.ask("One or two?"))["a"] in (1, 2)


def test_refusal_names_the_field(real_chat):
    page = real_chat.page
    set_fields(page, tools='[{"type": "no such type"}]')
    real_chat.say("hello")
    page.wait("document.querySelector('.error.refused')")
    assert "tools" in page.text(".error code")


def test_after_a_stop_the_conversation_goes_on(real_chat):
    set_fields(real_chat.page, max_tokens="1000")
    real_chat.say("Go on and on.")
    real_chat.page.click("#message")
    real_chat.page.press("Escape")
    real_chat.finish()
    set_fields(real_chat.page, max_tokens="8")
    real_chat.ask("And now?")
    assert real_chat.page.count(".error") == 0
