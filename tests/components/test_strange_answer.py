"""Endpoints that say HTTP 200 and send something else than an answer: what it was is said in plain words."""

import asyncio
import json

import pytest
from haystack.dataclasses import ChatMessage
from pydantic import SecretStr

from ragsaver.components.chat import ChatTier
from ragsaver.components.strange_answer import said_of
from ragsaver.errors import GenerationError
from ragsaver.settings import ModelSettings
from tests.openai_server import Script, openai_server

JSON, HTML, EVENTS = "application/json", "text/html; charset=utf-8", "text/event-stream"
ASKED = [ChatMessage.from_user("Who issues it?")]
LOGIN = "<!DOCTYPE html><html><head><title>Sign&nbsp;in\n first</title></head></html>"
ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}


def asked(tier: ChatTier, streamed: bool, on_a_loop: bool) -> str:
    async def hear(_: object) -> None:
        pass

    with pytest.raises(GenerationError) as caught:
        if on_a_loop:
            asyncio.run(tier.reply_async(ASKED, hear if streamed else None))
        else:
            tier.reply(ASKED, (lambda _: None) if streamed else None)
    return str(caught.value)


@pytest.mark.parametrize("on_a_loop", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (
            JSON,
            '{"error": {"message": "model is overloaded", "code": 503}}',
            "an error, as HTTP 200: model is overloaded",
        ),
        (JSON, '{"error": "quota\\nused up"}', "an error, as HTTP 200: quota used up"),
        (JSON, '{"error": {"code": 7}}', 'an error, as HTTP 200: {"code": 7}'),
        (JSON, '{"model": "x", "message": {"content": "hi"}}', "no chat completion (its keys: model, message)"),
        (JSON, '{"detail": "Not here"}', "no chat completion (its keys: detail): Not here"),
        (JSON, '{"choices": [{"text": "hi"}]}', "choices that have no message"),
        (JSON, "[1, 2]", "a list in place of a chat completion"),
        (JSON, '{"choices": [{"mess', "no JSON, or breaks off"),
        (JSON, "", "nothing at all"),
        (HTML, LOGIN, "a web page (Sign in first) in place of a chat completion"),
        (JSON, LOGIN, "a web page (Sign in first)"),
    ],
)
def test_what_came_is_told_with_where_it_came_from(kind: str, body: str, said: str, streamed: bool, on_a_loop: bool):
    with openai_server(Script(raw=(kind, body))) as url:
        told = asked(ChatTier(_model(url), _count, None), streamed, on_a_loop)
    assert f"{url} (tiny): answered with " in told and said in told
    assert "Error" not in told and ("ends in /v1" in told or "most end in /v1" in told) == ("web page" in said)


@pytest.mark.parametrize("on_a_loop", [False, True])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('data: {"error": {"message": "overloaded"}}\n\n', "answered with an error, as HTTP 200: overloaded"),
        ('data: {"error": "overloaded"}\n\n', "answered with an error, as HTTP 200: overloaded"),
        ('data: {"done": true}\n\n', "streamed pieces that are none of a chat completion"),
        ("data: <html>\n\n", "answered with a web page"),
    ],
)
def test_so_is_what_came_in_a_stream(body: str, said: str, on_a_loop: bool):
    with openai_server(Script(raw=(EVENTS, body))) as url:
        assert said in asked(ChatTier(_model(url), _count, None), streamed=True, on_a_loop=on_a_loop)


@pytest.mark.parametrize("on_a_loop", [False, True])
def test_a_stream_and_a_whole_answer_are_told_apart_from_what_was_asked_for(on_a_loop: bool):
    with openai_server(Script(raw=(JSON, json.dumps({**ANSWER, "id": "1", "model": "tiny"})))) as url:
        tier = ChatTier(_model(url), _count, None)
        assert "in one piece, where a stream was asked for" in asked(tier, streamed=True, on_a_loop=on_a_loop)
        if not on_a_loop:
            assert tier.reply(ASKED).text == "hi"
    with openai_server(Script(raw=(EVENTS, "data: [DONE]\n\n"))) as url:
        assert "a stream, which was not asked for" in asked(ChatTier(_model(url), _count, None), False, on_a_loop)


def test_what_an_endpoint_sends_is_shown_short_and_on_one_line():
    told = said_of(json.dumps({"error": "x\x1b[31m " * 5000}))
    assert told is not None and len(told.problem) < 250 and told.problem.isprintable()
    assert said_of(json.dumps(ANSWER)) is None
    assert said_of("[" * 100_000) is not None


def test_a_key_that_an_endpoint_tells_back_is_not_told_on():
    key = "one-that-looks-like-nothing"
    for body in (json.dumps({"error": f"no such key: {key}"}), f"{key} is wrong", f"<html><title>{key}</title>"):
        with openai_server(Script(raw=(JSON, body))) as url:
            told = asked(
                ChatTier(_model(url).model_copy(update={"api_key": SecretStr(key)}), _count, None), False, False
            )
            assert key not in told and "answered with" in told


def _count(texts: list[str]) -> list[int]:
    return [1] * len(texts)


def _model(url: str) -> ModelSettings:
    return ModelSettings(name="tiny", base_url=url, max_retries=0, rest_after_failures=100)
