"""Answers by a JSON schema against real endpoints: mended here, asked for once more, escalated, or refused."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from haystack.dataclasses import ChatMessage

from ragsaver.components.answer_schema import AnswerSchema, read_schema
from ragsaver.components.fitting import with_schema
from ragsaver.components.prompt_builder import ABSTENTION
from ragsaver.components.request import Request, running
from ragsaver.errors import BudgetExceeded, GenerationError, TooExpensive, Unsupported
from ragsaver.index.scope import Scope
from ragsaver.spend.pacing import Pace, Service
from tests.components.test_generator import ask, tiers
from tests.openai_server import Script

SCHEMA = read_schema(
    {
        "type": "object",
        "properties": {"office": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["office", "days"],
    }
)
FITS = '{"office": "the veterinary office", "days": 14}'
WRONG = '{"office": "the veterinary office", "days": "fourteen"}'
ONCE_MORE = "asked once more: its reply does not fit the schema: $.days breaks `type`"


def wanting(given, schema: AnswerSchema = SCHEMA) -> Request:
    return Request(given.default_scope, response_schema=schema)


@pytest.mark.parametrize("reply", [FITS, f"```json\n{FITS}\n```", f"The answer [1] is: {FITS}. Good luck!"])
def test_a_reply_that_fits_or_can_be_made_to_is_one_call(tmp_path: Path, reply: str):
    small, large = Script(reply=reply), Script(reply=FITS)
    with tiers(tmp_path, small, large) as given:
        asked = ask(given, request=wanting(given), stream=True)
    assert (asked.reply.text, asked.streamed) == (FITS, [FITS])
    assert asked.reply.meta["json"] and "doubt" not in asked.reply.meta
    assert (len(small.requests), large.requests) == (2, [])  # one by thread, one by task
    sent = small.requests[0]
    assert sent["response_format"]["json_schema"]["schema"]["required"] == ["office", "days"]
    assert SCHEMA.text in sent["messages"][0]["content"] and "stream_options" not in sent


def test_prompts_with_the_same_schema_begin_alike_and_then_comes_what_changes():
    turned = {"required": ["office", "days"], "properties": json.loads(SCHEMA.text)["properties"], "type": "object"}
    built = [
        ChatMessage.from_system("Answer from the documents."),
        ChatMessage.from_user("<document 1> Outline of the permits.\n</document 1>\n\nQuestion: Who signs?"),
    ]
    begins = []
    for schema in (SCHEMA, read_schema(turned)):
        with running(Request(Scope("acme", "docs"), response_schema=schema)):
            system, *others = with_schema(built)
            assert others == built[1:]
            assert with_schema(built[1:]) == [ChatMessage.from_system(schema.instruction), *built[1:]]
        begins.append(system)
    assert begins[0] == begins[1] == ChatMessage.from_system(f"Answer from the documents.\n\n{SCHEMA.instruction}")
    with running(Request(Scope("acme", "docs"))):
        assert with_schema(built) is built


def test_a_schema_is_sent_with_its_properties_and_examples_in_the_asker_s_order():
    given = {
        "type": "object",
        "properties": {"why": {"type": "string", "examples": [{"z": 1, "a": 2}]}, "answer": {"$ref": "#/$defs/b"}},
        "$defs": {"c": {"type": "null"}, "b": {"type": "string", "description": "b"}},
    }
    assert read_schema(given).text == (
        '{"$defs":{"b":{"description":"b","type":"string"},"c":{"type":"null"}},'
        '"properties":{"why":{"examples":[{"z":1,"a":2}],"type":"string"},"answer":{"$ref":"#/$defs/b"}},'
        '"type":"object"}'
    )


def test_a_reply_that_does_not_fit_is_asked_for_once_more_and_both_calls_are_billed(tmp_path: Path):
    small = Script(replies=[WRONG, FITS, WRONG, FITS])
    with tiers(tmp_path, small) as given:
        asked = ask(given, request=wanting(given), stream=True)
    assert (asked.reply.text, asked.streamed) == (FITS, [FITS])
    assert [reason for _, reason in asked.lines("route")][1:] == [ONCE_MORE]
    assert len(asked.lines("generate")) == 2 and len(small.requests) == 4
    assert (asked.receipt.tokens.input, asked.receipt.tokens.cached_input, asked.receipt.tokens.output) == (120, 80, 40)
    said = small.requests[1]["messages"][-2:]
    assert said[0] == {"role": "assistant", "content": WRONG} and "'fourteen' is not of type" in said[1]["content"]


def test_a_reply_that_never_fits_is_escalated_and_else_refused(tmp_path: Path):
    small, large = Script(reply=WRONG), Script(reply=FITS)
    with tiers(tmp_path / "two", small, large) as given:
        asked = ask(given, request=wanting(given))
        assert (asked.reply.text, asked.reply.meta["tier"]) == (FITS, "large")
        assert "does not fit the schema" in asked.reply.meta["route_reason"]
        assert len(asked.lines("generate")) == 3
        heard: list[str] = []
        large.reply = "I would rather talk."
        with pytest.raises(GenerationError, match="does not fit the schema: it is no JSON") as failed:
            heard = ask(given, request=wanting(given), stream=True).streamed
        assert failed.value.where == "model-1" and heard == []
    with tiers(tmp_path / "one", Script(reply=WRONG)) as given, pytest.raises(GenerationError, match=r"\$\.days"):
        ask(given, request=wanting(given))


def test_a_doubtful_answer_that_fits_is_kept_where_the_better_model_gives_none(tmp_path: Path):
    small, large = Script(reply=FITS, logprobs=[-4.0, -4.0]), Script(reply=WRONG)
    with tiers(tmp_path, small, large, models={"logprobs": True}) as given:
        asked = ask(given, request=wanting(given))
    assert (asked.reply.text, asked.reply.meta["tier"]) == (FITS, "small") and "unsure" in asked.reply.meta["doubt"]


def test_what_was_cut_is_not_asked_for_again(tmp_path: Path):
    small = Script(reply=FITS[:20], finish_reason="length")
    with tiers(tmp_path, small) as given, pytest.raises(GenerationError, match="cut at the token limit"):
        ask(given, request=wanting(given))
    assert len(small.requests) == 1


def test_the_abstention_is_an_answer_too(tmp_path: Path):
    small = Script(reply=f" {ABSTENTION}\n")
    with tiers(tmp_path, small) as given:
        assert ask(given, request=wanting(given)).reply.text.strip() == ABSTENTION
    assert len(small.requests) == 2


def test_the_second_call_keeps_the_ceiling(tmp_path: Path):
    small = Script(reply=WRONG)
    with tiers(tmp_path, small) as given:
        for micro_dollars in range(100, 10_000, 50):  # up to the first with room for one call
            request = replace(wanting(given), max_cost=Decimal(micro_dollars) / 1_000_000)
            with pytest.raises(TooExpensive):
                ask(given, request=request)
            if small.requests:
                break
    assert len(small.requests) == 1


def test_without_a_model_there_is_no_answer_by_a_schema(tmp_path: Path):
    with tiers(tmp_path) as given, pytest.raises(Unsupported, match="free tier"):
        ask(given, request=wanting(given))


def test_where_budgets_leave_the_free_tier_alone_a_schema_is_refused(tmp_path: Path):
    small = Script(reply=FITS)
    with (
        tiers(tmp_path, small) as given,
        pytest.raises(BudgetExceeded, match="no model is asked that could answer this"),
    ):
        ask(given, request=replace(wanting(given), pace=Pace(0.9, Service.EXTRACTIVE, budget="total per day")))
    assert small.requests == []


def test_the_free_tier_is_not_asked_and_addresses_nobody_gave_are_taken_out(tmp_path: Path):
    small = Script(reply='{"office": "see http://evil.example/?q=parrots", "days": 14}')
    with tiers(tmp_path, small, extractive_first=True, extractive_sure_confidence=0.0) as given:
        asked = ask(given, request=wanting(given), stream=True)
    assert asked.streamed == [asked.reply.text] == ['{"office": "see (link removed)", "days": 14}']
    assert "address" in asked.reply.meta["doubt"]


def test_wishes_for_other_schemas_are_other_wishes(tmp_path: Path):
    with tiers(tmp_path) as given:
        plain, one = Request(given.default_scope), wanting(given)
        other = wanting(given, read_schema({"type": "array"}))
        assert len({plain.wish, one.wish, other.wish}) == 3 and plain.wish == ""
