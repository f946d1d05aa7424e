"""The openai package, unmodified, against a running server: openai_client.py [URL] [--api-key KEY]

Nothing depends on what the model says: a model that talks nonsense passes as well.
"""
import json
from typing import Literal

import openai
from checks import Checks
from pydantic import BaseModel

checks = Checks(__doc__)
client = openai.OpenAI(base_url=f"{checks.url}/v1", api_key=checks.arguments.api_key, max_retries=0, timeout=120)
MODEL = client.models.list().data[0].id

HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}]
GREEDY = {"model": MODEL, "temperature": 0, "seed": 1}
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city", "strict": True,
    "parameters": {"type": "object", "properties": {"city": {"enum": ["Paris", "Zürich"]}, "days": {"enum": [1, 2, 3]}},
                   "required": ["city", "days"], "additionalProperties": False}}}


class Choice(BaseModel):
    answer: Literal["yes", "no"]
    certain: bool


def ask(**more):
    return client.chat.completions.create(**{**GREEDY, "messages": HELLO, "max_tokens": 16, **more})


# --- models -----------------------------------------------------------------------------------------------------------

@checks("models: list and retrieve")
def _():
    assert client.models.retrieve(MODEL).id == MODEL
    assert client.models.list().data[0].object == "model"


# --- chat -------------------------------------------------------------------------------------------------------------

@checks("chat: answer, usage, finish reason")
def _():
    reply = ask()
    choice = reply.choices[0]
    assert choice.message.role == "assistant" and isinstance(choice.message.content, str)
    assert choice.finish_reason in ("stop", "length")
    usage = reply.usage
    assert usage.prompt_tokens > 0 and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens <= 16
    assert 0 <= usage.prompt_tokens_details.cached_tokens < usage.prompt_tokens


@checks("chat: the second time the prompt comes from the cache, with the same answer")
def _():
    first, second = ask(), ask()
    assert second.usage.prompt_tokens_details.cached_tokens > 0
    assert first.choices[0].message.content == second.choices[0].message.content


@checks("chat: a stream says what the whole answer says")
def _():
    whole = ask()
    text, roles, finish, usage = "", [], None, None
    for chunk in ask(stream=True, stream_options={"include_usage": True}):
        if chunk.usage:
            assert chunk.choices == []
            usage = chunk.usage
            continue
        delta = chunk.choices[0].delta
        text += delta.content or ""
        roles += [delta.role] if delta.role else []
        finish = chunk.choices[0].finish_reason or finish
    assert text == whole.choices[0].message.content
    assert roles == ["assistant"] and finish == whole.choices[0].finish_reason
    assert usage.completion_tokens == whole.usage.completion_tokens


@checks("chat: the stream helper accumulates the same")
def _():
    with client.chat.completions.stream(**GREEDY, messages=HELLO, max_completion_tokens=16) as stream:
        deltas = "".join(event.delta for event in stream if event.type == "content.delta")
        assert deltas == stream.get_final_completion().choices[0].message.content


@checks("chat: a stream can be left in the middle")
def _():
    with ask(stream=True, max_tokens=2000) as stream:
        next(iter(stream))
    assert ask().choices[0].message is not None


@checks("chat: n, seed and temperature")
def _():
    one = ask(n=2, temperature=1, seed=7)
    two = ask(n=2, temperature=1, seed=7)
    assert [choice.index for choice in one.choices] == [0, 1]
    assert [c.message.content for c in one.choices] == [c.message.content for c in two.choices]


@checks("chat: logprobs cover the answer")
def _():
    choice = ask(logprobs=True, top_logprobs=3).choices[0]
    entries = choice.logprobs.content
    assert all(entry.logprob <= 0 and len(entry.top_logprobs) == 3 for entry in entries)
    assert all(max(top.logprob for top in entry.top_logprobs) >= entry.logprob for entry in entries)
    text = b"".join(bytes(entry.bytes) for entry in entries)
    assert text.startswith(choice.message.content.encode())


@checks("chat: content as parts")
def _():
    parts = [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
             {"role": "user", "content": [{"type": "text", "text": "Say hello."}]}]
    assert ask(messages=parts).choices[0].message.content == ask().choices[0].message.content


# --- tools ------------------------------------------------------------------------------------------------------------

def check_call(call):
    assert call.type == "function" and call.function.name == "get_weather" and call.id
    arguments = json.loads(call.function.arguments)
    assert arguments["city"] in ("Paris", "Zürich") and arguments["days"] in (1, 2, 3)


@checks("tools: a required call has valid arguments, and its result goes back")
def _():
    reply = ask(tools=[WEATHER], tool_choice="required", max_tokens=200).choices[0]
    assert reply.finish_reason == "tool_calls"
    for call in reply.message.tool_calls:
        check_call(call)
    results = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in reply.message.tool_calls]
    after = ask(messages=[*HELLO, reply.message, *results], tools=[WEATHER])
    assert after.choices[0].finish_reason in ("stop", "length", "tool_calls")


@checks("tools: a named call streams its arguments in pieces")
def _():
    choice = {"type": "function", "function": {"name": "get_weather"}}
    with client.chat.completions.stream(**GREEDY, messages=HELLO, tools=[WEATHER], tool_choice=choice, max_tokens=200) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion().choices[0]
    assert final.finish_reason in ("tool_calls", "stop")
    check_call(final.message.tool_calls[0])


@checks("tools: none means none")
def _():
    assert ask(tools=[WEATHER], tool_choice="none").choices[0].message.tool_calls is None


# --- structured output ------------------------------------------------------------------------------------------------

@checks("parse: a pydantic model")
def _():
    parsed = client.chat.completions.parse(**GREEDY, messages=HELLO, response_format=Choice, max_tokens=200).choices[0].message.parsed
    assert parsed.answer in ("yes", "no") and isinstance(parsed.certain, bool)


@checks("parse: by a schema, streamed")
def _():
    schema = {"name": "choice", "schema": Choice.model_json_schema() | {"additionalProperties": False}, "strict": True}
    stream = ask(stream=True, max_tokens=200, response_format={"type": "json_schema", "json_schema": schema})
    Choice.model_validate_json("".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices))


@checks("parse: json_object")
def _():
    reply = ask(response_format={"type": "json_object"}, max_tokens=300).choices[0]
    if reply.finish_reason == "stop":  # a model may fill any length
        assert isinstance(json.loads(reply.message.content), dict)


# --- completions ------------------------------------------------------------------------------------------------------

def complete(**more):
    return client.completions.create(**{**GREEDY, "prompt": "To be, or", "max_tokens": 12, **more})


@checks("completions: whole and streamed are the same")
def _():
    whole = complete().choices[0].text
    assert whole == "".join(chunk.choices[0].text for chunk in complete(stream=True) if chunk.choices)


@checks("completions: a stop string ends the text before it")
def _():
    text = complete(max_tokens=32).choices[0].text
    stop = text[len(text) // 2:][:3]
    choice = complete(max_tokens=32, stop=[stop]).choices[0]
    assert choice.text == text[:text.index(stop)] and choice.finish_reason == "stop"


@checks("completions: several prompts, echo, logprobs")
def _():
    replies = complete(prompt=["To be, or", "Once upon"], echo=True, logprobs=2)
    assert [choice.index for choice in replies.choices] == [0, 1]
    for prompt, choice in zip(("To be, or", "Once upon"), replies.choices):
        assert choice.text.startswith(prompt)
        logprobs = choice.logprobs
        assert logprobs.token_logprobs[0] is None and all(value <= 0 for value in logprobs.token_logprobs[1:])
        assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset)


# --- responses --------------------------------------------------------------------------------------------------------

@checks("responses: text and usage")
def _():
    reply = client.responses.create(model=MODEL, temperature=0, instructions="Be brief.", input="Say hello.", max_output_tokens=16)
    assert reply.object == "response" and reply.status in ("completed", "incomplete")
    assert isinstance(reply.output_text, str) and reply.usage.input_tokens > 0


@checks("responses: streamed events say the same")
def _():
    ask_with = dict(model=MODEL, temperature=0, input="Say hello.", max_output_tokens=16)
    whole = client.responses.create(**ask_with).output_text
    with client.responses.stream(**ask_with) as stream:
        events = list(stream)
    assert events[0].type == "response.created"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole


@checks("responses: goes on from an earlier one")
def _():
    first = client.responses.create(model=MODEL, input="Say hello.", max_output_tokens=16)
    second = client.responses.create(model=MODEL, input="Again.", previous_response_id=first.id, max_output_tokens=16)
    assert second.usage.input_tokens > first.usage.input_tokens


@checks("responses: parse")
def _():
    parsed = client.responses.parse(model=MODEL, input="Yes or no?", text_format=Choice, max_output_tokens=200).output_parsed
    assert parsed.answer in ("yes", "no")


# --- errors -----------------------------------------------------------------------------------------------------------

@checks("errors: a bad value is a BadRequestError that names it")
def _():
    try:
        ask(temperature=9)
    except openai.BadRequestError as error:
        assert error.param == "temperature" and error.status_code == 400 and error.type == "invalid_request_error"
    else:
        raise AssertionError("accepted")


@checks("errors: no messages")
def _():
    try:
        ask(messages=[])
    except openai.BadRequestError as error:
        assert error.param == "messages"
    else:
        raise AssertionError("accepted")


@checks("errors: an unknown model is not found")
def _():
    try:
        client.models.retrieve("no-such-model")
    except openai.NotFoundError as error:
        assert error.status_code == 404
    else:
        raise AssertionError("found")


checks.run()
