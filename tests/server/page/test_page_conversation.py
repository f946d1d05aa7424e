"""Talking: streaming, stopping, editing, regenerating, conversations that last."""
import json

from raw_http import eventually

from .page_driver import stored_messages


def test_answer_streams_and_says_how_it_went(chat, server):
    assert chat.ask("hello there") == "You said: hello there"
    assert server.last["messages"] == [{"role": "user", "content": "hello there"}]
    assert server.last["stream"] is True and server.last["stream_options"] == {"include_usage": True}
    assert server.last["model"] == "mock-engine"
    stats = chat.page.text(".message.assistant .stats")
    assert "tokens/s" in stats and "first token" in stats and "prompt: 0 of 3 cached" in stats


def test_enter_sends_and_shift_enter_begins_a_line(chat, server):
    chat.page.click("#message")
    chat.page.type("one")
    chat.page.press("Enter", shift=True)
    chat.page.type("two")
    chat.page.press("Enter")
    chat.page.wait("document.querySelector('.message.assistant')")
    chat.finish()
    assert server.last["messages"][0]["content"] == "one\ntwo"


def test_second_turn_sends_the_first_and_takes_it_from_the_cache(chat, server):
    chat.ask("hello there")
    chat.ask("and again")
    assert [m["role"] for m in server.last["messages"]] == ["user", "assistant", "user"]
    assert "prompt: 8 of 11 cached" in chat.page.texts(".stats")[-1]


def test_text_appears_before_the_answer_is_whole(chat):
    chat.say("slow")
    chat.page.wait("document.querySelector('.message.assistant .body').innerText.includes('word3')")
    assert chat.page.count(".streaming") == 1
    chat.page.press("Escape")
    chat.finish()


def test_escape_stops_and_the_server_hears_of_it(chat, server):
    chat.say("slow")
    chat.page.wait("document.querySelector('.message.assistant .body').innerText.includes('word2')")
    chat.page.press("Escape")
    text = chat.finish()
    assert text.startswith("word0 word1") and not text.endswith("word1999")
    assert "stopped" in chat.page.text(".message.assistant .stats")
    assert eventually(lambda: server.mock.cancelled == 1, within=20)


def test_stop_button_before_the_first_token_leaves_no_message(chat):
    chat.say("silent")
    chat.page.click("#stop")
    chat.finish()
    assert chat.messages() == ["silent"]


def test_edited_message_branches_and_the_old_branch_stays(chat, server):
    chat.ask("first")
    chat.ask("second")
    chat.button(0, "edit")
    chat.page.evaluate("document.querySelector('.editor textarea').select()")
    chat.page.type("changed")
    chat.page.press("Enter", ctrl=True)
    chat.page.wait("document.querySelectorAll('.message').length === 2")
    assert chat.finish() == "You said: changed"
    assert [m["content"] for m in server.last["messages"]] == ["changed"]
    assert chat.page.text(".versions") == "2/2"
    chat.page.click(".versions [data-action=left]")
    chat.page.wait("document.querySelectorAll('.message').length === 4")
    assert chat.messages() == ["first", "You said: first", "second", "You said: second"]


def test_regenerate_any_message(chat, server):
    chat.ask("first")
    chat.ask("second")
    chat.button(1, "regenerate")
    chat.page.wait("document.querySelectorAll('.message').length === 2")
    chat.finish()
    assert [m["content"] for m in server.last["messages"]] == ["first"]
    assert "2/2" in chat.page.text(".message.assistant footer")
    chat.button(0, "regenerate")
    chat.page.wait("document.querySelector('.message.assistant .versions')?.innerText === '3/3'")


def test_edited_answer_is_what_the_model_is_told_it_said(chat, server):
    chat.ask("first")
    chat.button(1, "edit")
    chat.page.evaluate("document.querySelector('.editor textarea').select()")
    chat.page.type("I said something else.")
    chat.page.click(".editor .primary")
    chat.page.wait("document.querySelector('.message.assistant .stats').innerText.includes('edited')")
    chat.ask("why?")
    assert server.last["messages"][1] == {"role": "assistant", "content": "I said something else."}


def test_reload_keeps_conversations_branches_and_names(chat):
    page = chat.page
    chat.ask("first")
    chat.button(1, "regenerate")
    page.wait("document.querySelector('.versions')?.innerText === '2/2'")
    page.press("O", ctrl=True, shift=True)
    page.wait("document.querySelectorAll('.message').length === 0")
    chat.ask("another conversation")
    whole = lambda nodes: all(node.get("state", "done") == "done" for node in nodes)
    assert eventually(lambda: sorted(len(nodes) for nodes in stored_messages(page) if whole(nodes)) == [2, 3], within=20)
    page.reload()
    page.wait("document.querySelectorAll('.message').length === 2")
    assert chat.messages()[0] == "another conversation"
    assert page.texts(".conversation a") == ["another conversation", "first"]
    page.click(".conversation:last-child a")
    page.wait("document.querySelector('.versions')?.innerText === '2/2'")
    page.evaluate("history.back()")
    page.wait("document.querySelector('.message.user').innerText.includes('another')")


def test_page_closed_while_an_answer_comes_keeps_what_came(chat):
    chat.say("slow")
    chat.page.wait("document.querySelector('.message.assistant .body').innerText.includes('word9')")
    chat.page.reload()
    chat.page.wait("document.querySelectorAll('.message').length === 2")
    assert chat.messages()[1].startswith("word0 word1")
    assert "broken off" in chat.page.text(".stats")


def test_rename_delete_and_undo(chat):
    page = chat.page
    chat.ask("first")
    page.evaluate("document.querySelector('.conversation a').focus()")
    page.press("F2")
    page.evaluate("document.querySelector('.conversation input').select()")
    page.type("A new name")
    page.press("Enter")
    page.wait("document.getElementById('title').innerText === 'A new name'")
    page.press("Delete")
    page.wait("document.querySelectorAll('.conversation').length === 0")
    assert page.count(".message") == 0
    page.click("#toast button")
    page.wait("document.querySelectorAll('.message').length === 2")
    assert page.texts(".conversation a") == ["A new name"]


def test_export_can_be_imported_and_strangers_files_are_refused(chat):
    page = chat.page
    chat.ask("keep this")
    page.evaluate("""(() => {
        const real = URL.createObjectURL;
        URL.createObjectURL = (blob) => { window.exported = blob.text(); URL.createObjectURL = real; return "#"; };
        addEventListener("click", (event) => event.target.download && event.preventDefault(), true);
    })()""")
    page.click("#export")
    exported = json.loads(page.wait("window.exported && 1") and page.evaluate("window.exported"))
    assert [len(c["nodes"]) for c in exported["conversations"]] == [2]

    def choose(text):
        page.evaluate(f"""(() => {{
            const data = new DataTransfer();
            data.items.add(new File([{json.dumps(text)}], "chat.json"));
            const input = document.getElementById("import-file");
            input.files = data.files;
            input.dispatchEvent(new Event("change"));
        }})()""")

    choose(json.dumps(exported))
    page.wait("document.querySelectorAll('.conversation').length === 2")
    loop = json.loads(json.dumps(exported))
    loop["conversations"][0]["nodes"][0]["parent"] = loop["conversations"][0]["nodes"][1]["id"]
    for text, complaint in (("{", "expected JSON"), ("[]", "expected conversations"),
                            (json.dumps(loop), "parent: expected an earlier message")):
        choose(text)
        page.wait(f"document.getElementById('toast').innerText.includes({json.dumps(complaint)})")
    assert page.count(".conversation") == 2


def test_answer_goes_on_in_a_conversation_that_is_not_on_screen(chat):
    page = chat.page
    chat.say("slow")
    page.wait("document.querySelector('.message.assistant .body').innerText.includes('word1')")
    page.press("O", ctrl=True, shift=True)
    page.wait("document.querySelectorAll('.message').length === 0")
    assert chat.ask("meanwhile") == "You said: meanwhile"
    page.wait("document.querySelector('.running') !== null")
    page.evaluate("[...document.querySelectorAll('.conversation a')].find((a) => a.innerText === 'slow').click()")
    page.wait("document.querySelector('.streaming .body').innerText.includes('word12')")
    page.press("Escape")
    chat.finish()
