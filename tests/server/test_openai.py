"""What the official client of OpenAI makes of the server: models, answers whole and in chunks, errors, who leaves."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import openai
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from ragsaver.components.prompt_builder import ABSTENTION
from ragsaver.components.request import Request, current_request
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app
from ragsaver.settings import Settings
from ragsaver.spend.ledger import UNKNOWN
from ragsaver.spend.reports import usage_report
from ragsaver.spend.tables import leases
from tests.endless_server import Endless, endless_server
from tests.openai_server import USAGE, Script, openai_server
from tests.server.own_settings import served_with

QUESTION = "Who issues the export permit for parrots?"
PERMIT = "The permit is issued by the veterinary office."
GUIDE = f"# Parrots\n\nParrots need an export permit before they may cross a border. {PERMIT}\n"


@contextmanager
def served(runtime: Runtime, base_url: str | None = None, **query) -> Iterator[tuple[str, Access]]:
    values = runtime.settings.model_dump()
    if base_url is not None:
        values["generation"] = {
            "extractive_first": False,
            "models": [{"name": "tiny", "base_url": base_url, "max_retries": 0, "timeout_s": 600}],
        }
        prices = {"input_per_mtok": 1, "cached_input_per_mtok": "0.5", "output_per_mtok": 10}
        values["spend"]["prices"] = {"tiny": prices}
    values["query"].update(query)
    settings = Settings.model_validate(values)
    runtime.ingestor.ingest_texts([PostedDocument("parrots.md", GUIDE, "markdown")], runtime.scope())
    with served_with(runtime, settings) as (url, access, _):
        yield url, access


@pytest.fixture
def script() -> Script:
    return Script(reply="The veterinary office issues it [1].")


@pytest.fixture
def client(runtime: Runtime, script: Script) -> Iterator[openai.OpenAI]:
    with openai_server(script) as model, served(runtime, model) as (url, _):
        yield client_of(url)


def client_of(url: str, key: str = "sk-anything") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def asked(text: str = QUESTION) -> list[dict]:
    return [{"role": "user", "content": text}]


SCHEMA_AT = "response_format.json_schema.schema"


def by_schema(schema: dict, name: str = "permit") -> dict:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}}


def test_the_pipelines_are_the_models(client: openai.OpenAI):
    there = [one.id for one in client.models.list()]
    assert {"query", "reranked"} <= set(there) and "search" not in there and there == sorted(there)
    assert client.models.retrieve("query").owned_by == "ragsaver"
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("search")
    assert refused.value.code == "model_not_found"


def test_a_whole_answer_has_its_usage_receipt_citations_and_cost(client: openai.OpenAI, script: Script):
    answer = client.chat.completions.with_raw_response.create(model="query", messages=asked())
    completion = answer.parse()
    (choice,) = completion.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", script.reply, "stop")
    usage = completion.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (100, 20, 120)
    assert usage.prompt_tokens_details.cached_tokens == 40 and usage.completion_tokens_details.reasoning_tokens == 0
    told = completion.model_extra["ragsaver"]
    assert told["citations"] == [{"source": "parrots.md", "heading": "Parrots", "page": None, "quote": PERMIT}]
    assert told["receipt"]["cost_usd"] == usage.cost == float(answer.headers["x-ragsaver-cost"]) == 0.00028
    assert answer.headers["x-ragsaver-tier"] == told["route"]["tier"] == "small"
    assert answer.headers["x-request-id"] == told["request_id"] and completion.id == f"chatcmpl-{told['request_id']}"
    assert completion.model == "query"


def test_what_a_model_reasoned_is_told_beside_its_answer(client: openai.OpenAI, script: Script):
    script.usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 15}}
    completion = client.chat.completions.create(model="query", messages=asked())
    usage = completion.usage
    assert (usage.completion_tokens, usage.completion_tokens_details.reasoning_tokens) == (20, 15)
    told = completion.model_extra["ragsaver"]["receipt"]["tokens"]
    assert told == {"input": 60, "cached_input": 40, "output": 20, "reasoning": 15}


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_streamed_answer_is_the_same_in_chunks(client: openai.OpenAI, script: Script, include_usage: bool):
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    chunks = list(client.chat.completions.create(model="query", messages=asked(), stream=True, **options))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said.strip() == script.reply and len(chunks) > 5
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-2:] == [None, "stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert ["ragsaver" in (chunk.model_extra or {}) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].model_extra["ragsaver"]["citations"][0]["quote"] == PERMIT
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [include_usage]
    if include_usage:
        assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 120)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("cut", ["length", "content_filter"])
def test_an_answer_that_is_not_whole_is_told_and_not_given_to_others(
    client: openai.OpenAI, script: Script, stream: bool, cut: str
):
    script.finish_reason = cut
    for _ in range(2):
        answer = client.chat.completions.create(model="query", messages=asked(), stream=stream)
        last = list(answer)[-1] if stream else answer
        told = last.model_extra["ragsaver"]
        assert (last.choices[0].finish_reason, told["cut"], told["route"]["cache"]) == (cut, cut, "miss")
        assert "read the answer with care" in told["reason"]
    script.finish_reason = "stop"
    for cache in ("miss", "hit"):
        answer = client.chat.completions.create(model="query", messages=asked())
        assert (answer.choices[0].finish_reason, answer.ragsaver["cut"]) == ("stop", None)
        assert answer.ragsaver["route"]["cache"] == cache


def test_the_free_tier_answers_without_a_model_and_bills_nothing(runtime: Runtime):
    with served(runtime) as (url, _):
        client = client_of(url)
        completion = client.chat.completions.create(model="query", messages=asked("Who issues the permit?"))
        assert completion.choices[0].message.content == PERMIT
        assert (completion.usage.total_tokens, completion.usage.cost) == (0, 0)
        for stream in (False, True):
            nothing = client.chat.completions.create(
                model="query", messages=asked("zzz qqq"), extra_body={"collection": "empty"}, stream=stream
            )
            said = (
                "".join(chunk.choices[0].delta.content or "" for chunk in nothing)
                if stream
                else nothing.choices[0].message.content
            )
            assert said == ABSTENTION


def test_the_last_message_is_the_question_and_earlier_turns_are_its_history(
    runtime: Runtime, script: Script, monkeypatch: pytest.MonkeyPatch
):
    seen: list[Request] = []
    search = type(runtime.index).search

    def seeing(*arguments, **more):
        seen.append(current_request())
        return search(*arguments, **more)

    monkeypatch.setattr(type(runtime.index), "search", seeing)
    with openai_server(script) as model, served(runtime, model) as (url, access):
        _, presented = access.keys.create("ana", "default")
        client_of(url, presented.text()).chat.completions.create(
            model="query",
            messages=[
                {"role": "system", "content": "Talk like a pirate."},
                {"role": "user", "content": "What of parrots?"},
                {"role": "assistant", "content": "They need a permit."},
                {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
            ],
            max_tokens=50,
            max_completion_tokens=40,
            extra_headers={"X-RagSaver-Max-Cost": "0.05", "X-RagSaver-Quality": "maximum"},
        )
    (request,) = seen
    assert request.history == (("user", "What of parrots?"), ("assistant", "They need a permit."))
    assert (request.principal, request.scope.tenant, request.scope.groups) == ("ana", "default", frozenset())
    assert (str(request.max_cost), request.quality, request.max_output_tokens) == ("0.05", "maximum", 40)
    assert script.requests[-1]["messages"][-1]["content"].endswith(QUESTION)
    assert "pirate" not in json.dumps(script.requests)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_by_a_schema_is_json_that_fits(client: openai.OpenAI, script: Script, stream: bool):
    schema = {"type": "object", "properties": {"office": {"type": "string"}}, "required": ["office"]}
    script.reply = 'Here it is:\n```json\n{"office": "the veterinary office"}\n```'
    for wished in (by_schema(schema), {"response_format": {"type": "json_object"}}):
        script.requests.clear()
        answer = client.chat.completions.create(model="query", messages=asked(), stream=stream, **wished)
        parts = list(answer) if stream else [answer]
        said = [part.choices[0].delta.content for part in parts if part.choices[0].delta.content] if stream else []
        text = said[0] if stream else answer.choices[0].message.content
        assert json.loads(text) == {"office": "the veterinary office"} and len(said) == stream
        told = parts[-1].model_extra["ragsaver"]
        assert (told["answer"], told["reason"], told["ignored"]) == (text, None, [])
        (sent,) = script.requests  # each wish is another one: no cache took its place
        assert sent["response_format"] == wished["response_format"]
        assert not sent.get("stream") and '"type":"object"' in sent["messages"][0]["content"]


def test_what_is_left_aside_is_told(client: openai.OpenAI):
    told = client.chat.completions.create(
        model="query",
        messages=[{"role": "developer", "content": "Rhyme."}, *asked()],
        temperature=0.3,
        seed=7,
        n=1,
        user="me",
    ).model_extra["ragsaver"]
    assert told["ignored"] == ["message of the role developer", "seed", "temperature", "user"]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}, "tools"),
        ({"logprobs": True}, "logprobs"),
        ({"stop": ["."]}, "stop"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        (by_schema({"type": "object", "properties": {"x": {"type": "texts"}}}), f"{SCHEMA_AT}.properties.x.type"),
        (by_schema({"properties": {"x": {"$ref": "http://127.0.0.1/x"}}}), f"{SCHEMA_AT}.properties.x.$ref"),
        (by_schema({"pattern": "(a+)+$"}), f"{SCHEMA_AT}.pattern"),
        (by_schema({"description": "x" * 20_000}), SCHEMA_AT),
        (by_schema({"type": "object"}, name="a b"), "response_format.json_schema.name"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "y"}]}, "messages.0"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
            "messages.0",
        ),
        ({"messages": [*asked(), {"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "owl", "content": "x"}]}, "messages.0.role"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"extra_body": {"collection": "a/b"}}, "collection"),
        ({"messages": asked("  ")}, None),
        ({"extra_headers": {"X-RagSaver-Max-Cost": "nan"}}, "header.x-ragsaver-max-cost"),
        ({"extra_headers": {"X-RagSaver-Max-Cost": "-1"}}, "header.x-ragsaver-max-cost"),
        ({"extra_headers": {"X-RagSaver-Quality": "best"}}, "header.x-ragsaver-quality"),
    ],
)
def test_what_can_t_be_done_is_refused_with_its_place(client: openai.OpenAI, script: Script, more: dict, param: str):
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(**{"model": "query", "messages": asked(), "stream": stream, **more})
        error = refused.value
        assert (error.param, error.type) == (param, "invalid_request_error") and error.message
    assert script.requests == []


def test_errors_have_the_shape_and_code_that_clients_read(runtime: Runtime, script: Script):
    with (
        openai_server(script) as model,
        served(runtime, model, max_history_chars=20, max_question_chars=60) as (url, access),
    ):
        client = client_of(url)
        with pytest.raises(openai.NotFoundError) as unknown:
            client.chat.completions.create(model="gpt-4o", messages=asked())
        assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
        long = [{"role": "user", "content": "x" * 15}, {"role": "assistant", "content": "y" * 6}, *asked()]
        for messages in (long, asked("x" * 61)):
            with pytest.raises(openai.APIStatusError) as refused:
                client.chat.completions.create(model="query", messages=messages)
            assert (refused.value.status_code, refused.value.code) == (413, "context_length_exceeded")
        script.statuses = [500, 500]
        for stream in (False, True):  # before the first word a stream fails as a whole answer does
            with pytest.raises(openai.InternalServerError) as failed:
                client.chat.completions.create(model="query", messages=asked(), stream=stream)
            assert (failed.value.status_code, failed.value.type) == (502, "server_error")
        script.cut_after = 2
        with pytest.raises(openai.APIError, match="on the bill"):
            list(client.chat.completions.create(model="query", messages=asked(), stream=True))
        script.cut_after = None

        _, some = access.keys.create("ana", "default", pipelines=["reranked"])
        access.keys.create("bob", "default")
        with httpx.Client(base_url=url) as plain:
            while plain.get("/v1/models").status_code == 200:
                pass  # until the server has seen that there are keys
        with pytest.raises(openai.AuthenticationError) as nobody:
            client.models.list()
        assert nobody.value.code == "invalid_api_key"
        restricted = client_of(url, some.text())
        assert [one.id for one in restricted.models.list()] == ["reranked"]
        with pytest.raises(openai.NotFoundError) as hidden:
            restricted.chat.completions.create(model="query", messages=asked())
        assert hidden.value.code == "model_not_found" and hidden.value.message.endswith("is a model: reranked")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/query"])
@pytest.mark.parametrize("silent", [False, True])
def test_a_caller_who_leaves_in_the_middle_of_a_stream_ends_the_call_of_the_model(
    runtime: Runtime, path: str, silent: bool
):
    body = {"model": "query", "messages": asked()} if path != "/v1/query" else {"query": QUESTION}
    text = json.dumps({**body, "stream": True})
    seen = Endless(silent)
    with endless_server(seen) as model, served(runtime, model) as (url, access):
        with socket.create_connection(("127.0.0.1", urlsplit(url).port), timeout=60) as caller:
            head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            caller.sendall(f"{head}content-length: {len(text)}\r\n\r\n{text}".encode())
            heard = b""
            while not silent and b"word3" not in heard:
                heard += caller.recv(65_536)
            assert seen.asked.wait(60) and not seen.left.is_set()
        assert seen.left.wait(60)
        # What it may have used is charged, and no money stays held back.
        ledger = access.live._now.resources.till.ledger
        until = time.monotonic() + 60
        while not usage_report(ledger, by="outcome").lines and time.monotonic() < until:
            time.sleep(0.05)
        (line,) = usage_report(ledger, by="outcome").lines
        assert (line.name, line.calls, line.cost_usd > 0) == (UNKNOWN, 1, True)
        with ledger.database.reading() as connection:
            assert connection.execute(sa.select(leases)).all() == []


def test_the_schema_of_both_routes_is_told(runtime: Runtime):
    access = Access(LiveRuntime(runtime), "token")
    schema = TestClient(create_app(access)).get("/openapi.json").json()
    access.close()
    headers = {one["name"] for one in schema["paths"]["/v1/chat/completions"]["post"]["parameters"]}
    assert headers == {"x-ragsaver-max-cost", "x-ragsaver-quality", "x-ragsaver-deadline", "cache-control"}


@pytest.mark.parametrize("stream", [False, True])
def test_query_takes_a_schema_and_refuses_a_bad_one(runtime: Runtime, script: Script, stream: bool):
    script.reply = '{"office": "the veterinary office"}'
    body = {"query": QUESTION, "stream": stream}
    with openai_server(script) as model, served(runtime, model) as (url, _):
        bad = httpx.post(f"{url}/v1/query", json={**body, "response_schema": {"type": "texts"}})
        assert (bad.status_code, bad.json()["where"], script.requests) == (400, "response_schema.type", [])
        good = httpx.post(f"{url}/v1/query", json={**body, "response_schema": {"required": ["office"]}})
        script.reply = "I would rather talk."
        worse = httpx.post(f"{url}/v1/query", json={**body, "response_schema": {"required": ["days"]}})
    told = [line[6:].rstrip("\r") for line in good.text.split("\n") if line.startswith("data: ")]
    assert told[0] == whole_of(told) if stream else good.json()["answer"] == '{"office": "the veterinary office"}'
    assert "event: error" in worse.text if stream else worse.status_code == 502
    assert "does not fit the schema" in worse.text


def whole_of(told: list[str]) -> str:
    """The only piece of a stream is the whole answer."""
    assert len(told) == 2
    return str(json.loads(told[1])["answer"])
