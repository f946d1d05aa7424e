"""Structured output in company: what a batch makes of a request is what the request makes alone."""
import concurrent.futures
import json

import jsonschema
import pytest
from raw_http import KL, Server

SCHEMAS = [
    {"type": "object", "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 9}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
     "required": ["name", "age"], "additionalProperties": False},
    {"type": "array", "minItems": 2, "maxItems": 5, "items": {"anyOf": [
        {"enum": ["to be", "not to be", None]}, {"type": "number", "exclusiveMinimum": 0, "maximum": 1}]}},
    {"$defs": {"node": {"type": "object", "properties": {
        "v": {"type": "string", "pattern": "^[a-z\u00e9]{1,4}$"}, "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/leaf"}]}},
        "required": ["v", "next"], "additionalProperties": False},
        "leaf": {"const": {"x": "\u00e9\n\""}}}, "$ref": "#/$defs/node"},
    {"type": "object", "properties": {"t": {"enum": ["a", "b"]}}, "required": ["t"],
     "patternProperties": {"^x[0-9]$": {"type": "boolean"}}, "additionalProperties": False},
]
TEMPERATURES = [0, 0.7, 1, 1.5]


def requests():
    """Eight: every other one with a schema, half of both kinds for two texts at once."""
    for i in range(8):
        request = {"prompt": ("ROMEO:", "Answer in JSON:")[i % 2], "max_tokens": 200, "seed": 100 + i, "n": 1 + i // 4,
                   "temperature": TEMPERATURES[(i // 2 + i) % 4], "top_p": 1}
        if i % 2 == 1:
            request["response_format"] = {"type": "json_schema",
                                          "json_schema": {"name": f"schema{i // 2}", "schema": SCHEMAS[i // 2]}}
        else:
            request["max_tokens"] = 40
        yield request


def texts_of(server, request):
    reply = server.post("/v1/completions", json.dumps(request).encode(), timeout=120).json()
    choices = sorted(reply["choices"], key=lambda choice: choice["index"])
    return [(choice["text"], choice["finish_reason"]) for choice in choices]


@pytest.fixture(scope="module", params=[[], ["--speculate", "ngram"]], ids=["plain", "speculating"])
def server(request):
    running = Server([KL, "serve", "--port", "0", "--parallel", "8", *request.param], None)
    yield running
    running.stop()
    assert running.process.returncode == 0


def test_eight_at_once_are_what_each_is_alone(server):
    alone = [texts_of(server, request) for request in requests()]
    for _ in range(2):
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            together = list(threads.map(lambda request: texts_of(server, request), requests()))
        assert together == alone
    ended = 0
    for request, texts in zip(requests(), alone):
        assert len(texts) == request["n"]
        if "response_format" not in request:
            continue
        schema = request["response_format"]["json_schema"]["schema"]
        for text, reason in texts:
            if reason == "stop":
                jsonschema.Draft202012Validator(schema).validate(json.loads(text))
                ended += 1
            else:
                assert reason == "length"
    assert ended >= 5, "all or nearly all of six"
    assert len({text for texts in alone for text, _ in texts}) >= 10, "seeds and temperatures matter"
