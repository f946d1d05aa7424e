"""kl run --json-object and --json-schema: every text that ends is valid, at any temperature."""
import json

import jsonschema
import pytest
from conftest import EXIT_BAD_INPUT, EXIT_USAGE

SCHEMAS = {
    "person": {"type": "object", "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "height": {"type": "number", "minimum": 0.5, "maximum": 2.5},
        "mail": {"type": ["string", "null"], "pattern": "^[a-z]{1,8}@[a-z]{2,6}\\.org$"},
        "born": {"type": "string", "format": "date"}},
        "required": ["name", "age", "mail"], "additionalProperties": False},
    "list": {"type": "array", "minItems": 1, "maxItems": 4, "items": {"anyOf": [
        {"enum": ["to be", "not to be", 7, None]}, {"type": "boolean"},
        {"type": "array", "items": {"type": "integer", "multipleOf": 5, "maximum": 1000, "minimum": -1000}, "maxItems": 3}]}},
    "tree": {"$defs": {"node": {"type": "object", "properties": {
        "v": {"type": "string", "maxLength": 3}, "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/leaf"}]}},
        "required": ["v", "next"], "additionalProperties": False},
        "leaf": {"type": "object", "properties": {"x": {"const": "\u00e9\n\""}}, "required": ["x"], "additionalProperties": False}},
        "$ref": "#/$defs/node"},
    "map": {"type": "object", "properties": {"kind": {"const": "map"}}, "required": ["kind"], "maxProperties": 1},
    "union": {"oneOf": [
        {"type": "object", "properties": {"t": {"const": "a"}, "n": {"type": "integer", "exclusiveMaximum": 0}},
         "required": ["t", "n"], "additionalProperties": False},
        {"type": "object", "properties": {"t": {"const": "b"}}, "required": ["t"], "additionalProperties": False}]},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_two_hundred_texts_are_valid(ok, tmp_path, name):
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMAS[name]))
    validator = jsonschema.validators.validator_for(SCHEMAS[name])(SCHEMAS[name])
    texts = set()
    for seed in range(40):
        temperature = (0, 0.3, 0.8, 1.5, 10)[seed % 5]
        text = ok("run", "-p", "Answer:", "-n", 600, "--temp", temperature, "--seed", seed, "--top-p", 1,
                  "--json-schema", tmp_path / "schema.json").out
        validator.validate(json.loads(text))
        texts.add(text)
    assert len(texts) > 1  # blanks alone leave a choice


def test_any_object_that_ends_is_json(ok):
    ended = 0
    for seed in range(12):
        result = json.loads(ok("run", "-p", "Answer:", "-n", 120, "--seed", seed, "--temp", 1.2, "--json-object", "--json").out)
        if result["finish_reason"] == "stop":
            assert isinstance(json.loads(result["text"]), dict)
            ended += 1
        else:
            assert result["text"].startswith("{")
    assert ended > 0


def test_a_text_cut_by_the_limit_says_so(ok, tmp_path):
    (tmp_path / "s.json").write_text('{"type": "string", "minLength": 50}')
    result = json.loads(ok("run", "-p", "x", "-n", 5, "--json-schema", tmp_path / "s.json", "--json").out)
    assert result["finish_reason"] == "length"


@pytest.mark.parametrize("schema, words", [
    ("{", "json schema"),
    ('{"type": "object", "properties": {"a": {"not": {}}}}', "/properties/a/not"),
    ('{"type": "string", "pattern": "(?=a)"}', "look-around"),
    ('{"items": ' * 3000 + "{}" + "}" * 3000, "json schema"),
])
def test_a_schema_that_is_refused_names_file_and_place(kl, tmp_path, schema, words):
    (tmp_path / "s.json").write_text(schema)
    result = kl("run", "-p", "x", "--json-schema", tmp_path / "s.json")
    assert result.status == EXIT_BAD_INPUT and result.out == ""
    assert "s.json" in result.err and words in result.err


def test_the_flags_exclude_each_other_and_the_file_must_exist(kl, tmp_path):
    assert kl("run", "-p", "x", "--json-object", "--json-schema", "x.json").status == EXIT_USAGE
    assert kl("run", "-p", "x", "--json-schema", tmp_path / "none").status == EXIT_BAD_INPUT
