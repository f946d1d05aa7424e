"""The anthropic package, unmodified, against a running server: anthropic_client.py [URL] [--api-key KEY]

Nothing depends on what the model says: a model that talks nonsense passes as well.
"""
import anthropic
from checks import Checks

checks = Checks(__doc__)
client = anthropic.Anthropic(base_url=checks.url, api_key=checks.arguments.api_key, max_retries=0, timeout=120)
MODEL = "kl"

# The newest clients have no argument for the temperature.
HELLO = {"model": MODEL, "max_tokens": 16, "extra_body": {"temperature": 0}, "system": "Be brief.",
         "messages": [{"role": "user", "content": "Say hello."}]}
WEATHER = {"name": "get_weather", "description": "The weather of a city", "input_schema": {
    "type": "object", "properties": {"city": {"enum": ["Paris", "Zürich"]}}, "required": ["city"], "additionalProperties": False}}


@checks("messages: answer, usage, stop reason")
def _():
    reply = client.messages.create(**HELLO)
    assert (reply.type, reply.role) == ("message", "assistant")
    assert all(block.type == "text" for block in reply.content)
    assert reply.stop_reason in ("end_turn", "max_tokens")
    assert reply.usage.input_tokens + (reply.usage.cache_read_input_tokens or 0) > 0 and reply.usage.output_tokens <= 16


@checks("messages: a stream says what the whole answer says")
def _():
    whole = client.messages.create(**HELLO)
    with client.messages.stream(**HELLO) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == "".join(block.text for block in whole.content)
    assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)


@checks("messages: raw events come in order")
def _():
    kinds = [event.type for event in client.messages.create(**HELLO, stream=True) if event.type != "ping"]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop")


@checks("messages: blocks, and turns that go on")
def _():
    turns = [{"role": "user", "content": [{"type": "text", "text": "Say hello."}]}, {"role": "assistant", "content": "Hello."},
             {"role": "user", "content": "Again."}]
    assert client.messages.create(**{**HELLO, "messages": turns}).type == "message"


@checks("tools: a required call has valid input, and its result goes back")
def _():
    asked = {**HELLO, "max_tokens": 200, "tools": [WEATHER]}
    reply = client.messages.create(**asked, tool_choice={"type": "any"})
    assert reply.stop_reason == "tool_use"
    calls = [block for block in reply.content if block.type == "tool_use"]
    assert calls and all(call.name == "get_weather" and call.input["city"] in ("Paris", "Zürich") for call in calls)
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"} for call in calls]
    turns = [*HELLO["messages"], {"role": "assistant", "content": reply.content}, {"role": "user", "content": results}]
    assert client.messages.create(**{**asked, "messages": turns}).stop_reason in ("end_turn", "max_tokens", "tool_use")


@checks("tools: a named call streams its input in pieces")
def _():
    asked = {**HELLO, "max_tokens": 200, "tools": [WEATHER], "tool_choice": {"type": "tool", "name": "get_weather"}}
    with client.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    assert final.content[-1].type == "tool_use" and final.content[-1].input["city"] in ("Paris", "Zürich")


@checks("count_tokens: as many as the answer's usage says")
def _():
    counted = client.messages.count_tokens(model=MODEL, system=HELLO["system"], messages=HELLO["messages"]).input_tokens
    usage = client.messages.create(**HELLO).usage
    assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)


@checks("errors: a bad value is a BadRequestError")
def _():
    try:
        client.messages.create(**{**HELLO, "extra_body": {"temperature": 9}})
    except anthropic.BadRequestError as error:
        assert error.body["type"] == "error" and "temperature" in error.body["error"]["message"]
    else:
        raise AssertionError("accepted")


checks.run()
