"""What a schema from outside may do here, and what is made of replies that don't fit it at once."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.answer_schema import MAX_CHARS, cleaned, read_schema, words_of
from ragsaver.errors import UsageError

DAYS = {"type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"type": "words"}, "s.type"),
        ({"$defs": {"a": {"items": {"pattern": "(a+)+$"}}}}, "s.$defs.a.items.pattern"),
        ({"anyOf": [{"patternProperties": {".": {}}}]}, "s.anyOf.0.patternProperties"),
        ({"$ref": "https://example.org/schema"}, "s.$ref"),
        ({"$ref": "#/properties/a"}, "s.$ref"),
        ({"properties": {"a": {"$schema": "http://json-schema.org/draft-03/schema#"}}}, "s.properties.a.$schema"),
        ({"$schema": "http://json-schema.org/draft-03/schema#"}, "s.$schema"),
        ({"title": "x" * MAX_CHARS}, "s"),
        ({"const": float("nan")}, "s"),
        ({"title": "\ud800"}, "s"),
    ],
)
def test_a_schema_that_can_t_be_run_here_is_refused_with_its_place(schema: dict, where: str):
    with pytest.raises(UsageError) as refused:
        read_schema(schema, "s")
    assert refused.value.where == where


def test_a_schema_without_end_is_refused_when_read_or_ends_when_run():
    deep: dict = {}
    for _ in range(100):
        deep = {"items": deep}
    with pytest.raises(UsageError, match="nested deeper"):
        read_schema(deep)
    assert "can't be checked" in read_schema({"$ref": "#"}).misfit("1").reason
    assert "can't be checked" in read_schema({"$ref": "#/$defs/none"}).misfit("1").reason
    doubling = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}
    laughs = read_schema({"$defs": {**doubling, "d60": {}}, "$ref": "#/$defs/d0"})
    assert "can't be checked" in laughs.misfit("1").reason


def test_names_and_data_are_no_keywords():
    schema = read_schema(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "properties": {"pattern": {"type": "string"}, "properties": {"const": {"pattern": "x"}}, "n": {"$ref": "#"}},
        }
    )  # fmt: skip
    assert schema.misfit('{"pattern": "a", "properties": {"pattern": "x"}, "n": {}}') is None
    assert schema.misfit('{"n": {"pattern": 1}}').reason == "$.n.pattern breaks `type`"


@pytest.mark.parametrize(
    "reply",
    [
        '{"days": 14}',
        '```json\n{"days": 14}\n```',
        'As document [1] says:\n```\n{"days": 14}\n```\nThat is all.',
        'Not {"day": 1} but {"days": 14} {"days": 15}',
    ],
)
def test_json_is_taken_out_of_what_stands_around_it(reply: str):
    schema = read_schema(DAYS)
    assert json.loads(schema.mended(reply)) == {"days": 14}


@pytest.mark.parametrize(("reply", "reason"), [("", "no JSON"), ("[[[[{{{", "no JSON"), ('{"days": NaN}', "no JSON")])
def test_what_is_no_json_is_told(reply: str, reason: str):
    schema = read_schema(DAYS)
    assert reason in schema.misfit(schema.mended(reply)).reason


def test_the_reason_tells_no_word_of_the_reply():
    misfit = read_schema(DAYS).misfit('{"days": "a secret"}')
    assert misfit.reason == "$.days breaks `type`" and "a secret" in misfit.detail


@given(JSON, st.sampled_from(["", "\n", "Here: ", "```json\n"]))
def test_any_value_is_found_as_it_is(value: object, before: str):
    text = json.dumps(value)
    if isinstance(value, dict | list) or not before.strip():
        assert json.loads(read_schema({}).mended(before + text)) == value


@given(JSON)
def test_cleaning_nothing_changes_nothing(value: object):
    text = json.dumps(value)
    assert cleaned(text, str) == text and isinstance(words_of(text), str)


def test_two_schemas_are_two():
    one, other = read_schema(DAYS), read_schema(DAYS, name="other")
    assert one == read_schema(dict(DAYS)) and hash(one) == hash(read_schema(DAYS)) and one != other
    assert read_schema({"type": "object"}).on_the_wire == {"type": "json_object"}
