"""tokenize, detokenize, render."""
import json

import pytest
from conftest import EXIT_BAD_INPUT

TEXTS = ["", " ", "To be, or not to be", "naïve €5 🎭", "tab\tand\nline", "<|im_end|>", "\u0000", "中文 हिन्दी ไทย", "a" * 5000,
         "line\u2028breaks\u0085that\x0bare\x0cnone\x1c"]


def test_jsonl_round_trip(ok):
    lines = "".join(json.dumps(t) + "\n" for t in TEXTS)
    ids = ok("tokenize", "--jsonl", stdin=lines).out
    assert [type(json.loads(line)) for line in ids.splitlines()] == [list] * len(TEXTS)
    back = ok("detokenize", "--jsonl", stdin=ids).out
    assert [json.loads(line) for line in back.splitlines()] == TEXTS


def test_jsonl_may_come_from_a_file_and_need_not_end_in_a_line_break(ok, tmp_path):
    (tmp_path / "in.jsonl").write_text('"one"\n"two"')
    assert ok("tokenize", "--jsonl", "-f", tmp_path / "in.jsonl").out == ok("tokenize", "--jsonl", stdin='"one"\n"two"\n').out


def test_every_form_of_output_holds_the_same_ids(ok):
    text = "To be, or not"
    table = [line.split("\t") for line in ok("tokenize", text).out.splitlines()]
    ids = [int(i) for i in ok("tokenize", text, "--ids").out.split()]
    as_json = json.loads(ok("tokenize", text, "--json").out)
    assert [int(row[0]) for row in table] == ids == as_json["ids"]
    assert "".join(row[1] for row in table) == "".join(as_json["tokens"]) == text
    assert as_json["count"] == len(ids)


def test_files_and_pipes_are_taken_byte_for_byte(ok, tmp_path):
    (tmp_path / "text").write_bytes(b"  two lines \n\n")
    ids = ok("tokenize", "-f", tmp_path / "text", "--ids").out
    assert ok("tokenize", "-", "--ids", stdin=b"  two lines \n\n").out == ids
    assert ok("detokenize", "-", stdin=ids).out_bytes == b"  two lines \n\n"
    (tmp_path / "ids").write_text(ids)
    assert ok("detokenize", "-f", tmp_path / "ids").out_bytes == b"  two lines \n\n"
    assert ok("detokenize", *ids.split()).out_bytes == b"  two lines \n\n"


def test_control_text_is_ordinary_unless_asked(ok):
    ordinary = json.loads(ok("tokenize", "a<|im_end|>", "--json").out)["ids"]
    special = json.loads(ok("tokenize", "a<|im_end|>", "--json", "--special").out)["ids"]
    assert len(special) == 2 < len(ordinary)
    assert ok("detokenize", *map(str, special)).out == "a<|im_end|>"
    assert ok("detokenize", *map(str, special), "--skip-special").out == "a"


def test_a_folder_with_nothing_but_the_vocabulary_will_do(ok, demo, tmp_path):
    (tmp_path / "tiktoken.model").write_bytes((demo / "tiktoken.model").read_bytes())
    assert ok("tokenize", "-m", tmp_path, "To be", "--ids").out == ok("tokenize", "To be", "--ids").out


def test_text_after_two_dashes_may_look_like_a_flag(ok):
    assert ok("detokenize", *ok("tokenize", "--ids", "--", "--json").out.split()).out == "--json"


@pytest.mark.parametrize("command", ["tokenize", "detokenize"])
@pytest.mark.parametrize("line", ["{", "", "nul", '"a" "b"', '"\\ud800"', b'"\xff"', "{}", "true", "[1.5]", "[-1]", "[1024]",
                                  '["x"]', "[99999999999999999999]", "[[1]]"])
def test_a_bad_line_is_named_and_those_before_it_are_answered(kl, command, line):
    good = b'"fine"\n' if command == "tokenize" else b"[70]\n"
    result = kl(command, "--jsonl", stdin=good + (line if isinstance(line, bytes) else line.encode()) + b"\n" + good)
    assert result.status == EXIT_BAD_INPUT
    assert "standard input:2: expected" in result.err
    assert len(result.out.splitlines()) == 1


# --- render ---------------------------------------------------------------------------------------------------------

def render(ok, *conversations, flags=()):
    lines = "".join(json.dumps(c) + "\n" for c in conversations)
    return [json.loads(line) for line in ok("render", "--jsonl", *flags, stdin=lines).out.splitlines()]


USER = {"role": "user", "content": "Hi"}


def test_render_shows_the_text_the_model_sees(ok):
    plain = {"messages": [USER]}
    asking = {"messages": [{"role": "system", "content": "Be brief."}, USER], "add_generation_prompt": True}
    assert render(ok, plain, asking) == [
        "<|im_user|>user<|im_middle|>Hi<|im_end|>",
        "<|im_system|>system<|im_middle|>Be brief.<|im_end|><|im_user|>user<|im_middle|>Hi<|im_end|>"
        "<|im_assistant|>assistant<|im_middle|>"]


def test_rendered_ids_are_safe_from_control_text_in_messages(ok):
    forged = {"messages": [{"role": "user", "content": "x<|im_end|>"}]}
    (ids,) = render(ok, forged, flags=["--ids"])
    (text,) = render(ok, forged)
    assert ok("detokenize", *map(str, ids)).out == text
    (end,) = json.loads(ok("tokenize", "--special", "--json", "<|im_end|>").out)["ids"]
    assert ids.count(end) == 1


def test_content_may_be_null_or_parts(ok):
    assert render(ok, {"messages": [{"role": "user", "content": None}, {"role": "user"},
                                    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}]}]}) == [
        "<|im_user|>user<|im_middle|><|im_end|>" * 2 + "<|im_user|>user<|im_middle|>ab<|im_end|>"]


def test_tools_are_declared_called_and_answered(ok):
    call = {"id": "functions.f:0", "function": {"name": "f", "arguments": {"n": 123456789012345678901, "x": 1.0}}}
    conversation = {"messages": [{"role": "assistant", "content": "", "tool_calls": [call]},
                                 {"role": "tool", "tool_call_id": "functions.f:0", "content": "4"}],
                    "tools": [{"type": "function", "function": {"name": "f"}}]}
    assert render(ok, conversation, {"messages": [USER], "tools": []}) == [
        '<|im_system|>tool_declare<|im_middle|>[{"function":{"name":"f"},"type":"function"}]<|im_end|>'
        "<|im_assistant|>assistant<|im_middle|><|tool_calls_section_begin|><|tool_call_begin|>functions.f:0"
        '<|tool_call_argument_begin|>{"n":123456789012345678901,"x":1.0}<|tool_call_end|><|tool_calls_section_end|><|im_end|>'
        "<|im_system|>tool<|im_middle|>## Return of functions.f:0\n4<|im_end|>",
        "<|im_user|>user<|im_middle|>Hi<|im_end|>"]


def test_a_template_of_ones_own_is_rendered(ok, kl, tmp_path):
    path = tmp_path / "t.jinja"
    path.write_text("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{{ style }}"
                    "{% if messages|length > 1 %}{{ raise_exception('one is enough') }}{% endif %}")
    flags = ["--chat-template", path]
    many = {"messages": [USER, USER], "chat_template_kwargs": {"style": "ignored"}}
    one, error = render(ok, {"messages": [USER], "chat_template_kwargs": {"style": {"b": 1, "a": 2}}}, many, flags=flags)
    assert one == "<user>Hi{'b': 1, 'a': 2}"
    assert list(error) == ["error"] and error["error"].endswith("t.jinja:1: one is enough")
    assert render(ok, {"messages": [USER]}, flags=["--chat-template", "builtin"]) == ["<|im_user|>user<|im_middle|>Hi<|im_end|>"]
    path.write_text("\n{% include 'x' %}")
    result = kl("render", "--jsonl", *flags, stdin="")
    assert result.status == EXIT_BAD_INPUT and "t.jinja:2: expected a block that kl has" in result.err
    assert kl("render", "--jsonl", "--chat-template", tmp_path / "none", stdin="").status == EXIT_BAD_INPUT


@pytest.mark.parametrize("message, words", [
    ({"content": "x"}, "messages[0].role: expected a string"),
    ({"role": "user", "content": 3}, "expected something to iterate over, got int"),
])
def test_what_the_template_does_not_take_is_answered_with_its_words(ok, message, words):
    (answer,) = render(ok, {"messages": [message]})
    assert list(answer) == ["error"] and words in answer["error"]


@pytest.mark.parametrize("line, named", [
    ("{", "standard input:2: expected JSON"),
    ("[]", "standard input:2: expected an object with messages, got an array of 0"),
    ("{}", "standard input:2 .messages: expected an array, got nothing"),
    ('{"messages": 3}', "standard input:2 .messages: expected an array, got 3"),
    ('{"messages": [3]}', "standard input:2 .messages[0]: expected an object, got 3"),
    ('{"messages": [], "add_generation_prompt": 1}', "standard input:2 .add_generation_prompt: expected true or false"),
    ('{"messages": [], "tools": {}}', "standard input:2 .tools: expected an array"),
    ('{"messages": [], "chat_template_kwargs": []}', "standard input:2 .chat_template_kwargs: expected an object"),
])
def test_a_bad_conversation_is_named(kl, line, named):
    result = kl("render", "--jsonl", stdin=json.dumps({"messages": [USER]}) + "\n" + line + "\n")
    assert result.status == EXIT_BAD_INPUT
    assert named in result.err
    assert len(result.out.splitlines()) == 1
