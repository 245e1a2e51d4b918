"""A question's deadline is known to every stage, and once it is over nothing more is spent on it."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from ragsaver.components.request import Request, running
from ragsaver.deadline import allowed_s, due, time_left_s
from ragsaver.errors import DeadlineExceeded, GenerationError, GenerationLate, IndexUnavailable
from ragsaver.index.connection import Connection, ServerPlace
from ragsaver.index.server import ServerIndex
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app
from ragsaver.settings import Settings
from tests.index.points import ACME, IDENTITY
from tests.openai_server import Script, openai_server
from tests.qdrant_server import qdrant_server

QUESTION = "Who issues the export permit for parrots?"
GUIDE = PostedDocument("parrots.md", "# Parrots\n\nThe export permit for parrots is issued by the veterinary office.\n")


@contextmanager
def project(folder: Path, *models: dict, **settings) -> Iterator[Runtime]:
    wishes = {"extractive_first": False, "models": [{"max_retries": 0, **one} for one in models]}
    server = {"allowed_hosts": ["testserver"]}
    values = {"home": folder / "home", "generation": wishes, "server": server, **settings}
    with open_runtime(Settings.model_validate(values), "a test") as opened:
        opened.ingestor.ingest_texts([GUIDE], opened.scope())
        yield opened


def over() -> float:
    return time.monotonic() - 1


@pytest.fixture
def filled(runtime: Runtime) -> Runtime:
    runtime.ingestor.ingest_texts([GUIDE], runtime.scope())
    return runtime


def test_nothing_is_begun_when_the_time_is_over(filled: Runtime, monkeypatch: pytest.MonkeyPatch):
    def embed(question: str):
        raise AssertionError("the question was embedded")

    object.__setattr__(filled.resources, "embed_question", embed)
    engine = filled.engine()
    with pytest.raises(DeadlineExceeded, match="no time left.*query.deadline_s"):
        engine.ask(QUESTION, Request(filled.reading(), deadline=over()))
    with pytest.raises(DeadlineExceeded):
        engine.search(QUESTION, Request(filled.reading(), deadline=over()))
    with pytest.raises(DeadlineExceeded):
        asyncio.run(engine.ask_async(QUESTION, Request(filled.reading(), deadline=over())))


def test_an_answer_that_is_there_is_given_in_any_case(filled: Runtime):
    first = filled.engine().ask(QUESTION)
    again = filled.engine().ask(QUESTION, Request(filled.reading(), deadline=over()))
    assert (again.answer, again.route.cache) == (first.answer, "hit")


@pytest.mark.parametrize(("own_s", "limit_s", "at_most_s"), [(None, 50, 50), (7, 50, 7), (70, 50, 50), (7, None, 7)])
def test_every_component_knows_the_sooner_of_both(tmp_path: Path, own_s, limit_s, at_most_s):
    seen: list[float | None] = []
    with project(tmp_path, query={"deadline_s": limit_s}) as runtime:
        embed = runtime.resources.embed_question

        def spying(question: str):
            seen.append(time_left_s())
            return embed(question)

        object.__setattr__(runtime.resources, "embed_question", spying)
        deadline = None if own_s is None else time.monotonic() + own_s
        runtime.engine().ask(QUESTION, Request(runtime.reading(), deadline=deadline, caching="off"))
    assert seen[0] is not None and at_most_s - 5 < seen[0] <= at_most_s


def test_nobody_counts_where_there_is_no_limit(tmp_path: Path):
    with project(tmp_path, query={"deadline_s": None}) as runtime, running(Request(runtime.reading())):
        assert time_left_s() is None and allowed_s(9) == 9
        runtime.engine().ask(QUESTION)
        with due(over()):
            assert allowed_s(9) == 0
        assert time_left_s() is None


def test_an_endpoint_gets_no_more_time_than_the_question_has_left(tmp_path: Path):
    script = Script(hold=threading.Event())
    with openai_server(script) as url:
        try:
            models = {"name": "tiny", "base_url": url}, {"name": "huge", "base_url": url}
            limit = {"deadline_s": 1}
            with project(tmp_path, *models, query=limit) as runtime, pytest.raises(GenerationError):
                runtime.engine().ask(QUESTION)
            assert len(script.requests) == 1  # there was no time for another tier
        finally:
            script.hold.set()


def test_who_waits_for_the_same_question_waits_no_longer_than_it_may(tmp_path: Path):
    script = Script(hold=threading.Event())
    with openai_server(script) as url, project(tmp_path, {"name": "tiny", "base_url": url}) as runtime:
        engine, answers = runtime.engine(), []
        first = threading.Thread(target=lambda: answers.append(engine.ask(QUESTION)))
        first.start()
        while not script.requests:
            time.sleep(0.01)
        # it would wait for the first, which waits until this is over
        with pytest.raises(DeadlineExceeded):
            engine.ask(QUESTION, Request(runtime.reading(), deadline=time.monotonic() + 0.2))
        script.hold.set()
        first.join()
    assert answers and len(script.requests) == 1


def test_a_server_of_the_index_is_not_asked_again_when_the_time_is_over():
    with qdrant_server() as server:
        place = ServerPlace(server.url, grpc_port=None)
        with closing(ServerIndex(Connection(place), "corpus", IDENTITY)) as index, due(over()):
            server.failures = [503] * 9
            with pytest.raises(IndexUnavailable):
                index.count(ACME)
            assert len(server.failures) == 8


def test_a_late_generation_is_a_failed_generation_and_late():
    late = GenerationLate("too late")
    assert (late.status, late.title, late.urn()) == (504, "Deadline exceeded", "urn:ragsaver:problem:generation-late")


def test_a_caller_says_how_long_it_may_take(filled: Runtime):
    access = Access(LiveRuntime(filled), "owner-token")
    try:
        with TestClient(create_app(access), raise_server_exceptions=False) as client:

            def ask(seconds: str, **body):
                headers = {"x-ragsaver-deadline": seconds, "cache-control": "no-store"}
                return client.post("/v1/query", json={"query": QUESTION, **body}, headers=headers)

            assert ask("60").json()["answer"]
            late = ask("1e-9")
            assert (late.status_code, late.json()["type"]) == (504, "urn:ragsaver:problem:deadline-exceeded")
            assert "deadline-exceeded" in ask("1e-9", stream=True).text
            for wrong in ("0", "-1", "nan", "inf", "soon"):
                assert ask(wrong).status_code == 422, wrong
            chat = {"model": "query", "messages": [{"role": "user", "content": QUESTION}]}
            told = client.post("/v1/chat/completions", json=chat, headers={"x-ragsaver-deadline": "1e-9"})
            assert told.status_code == 504 and told.json()["error"]["message"]

            def search(seconds: str):
                return client.post("/v1/search", json={"query": QUESTION}, headers={"x-ragsaver-deadline": seconds})

            assert search("60").json()["passages"]
            late = search("1e-9")
            assert (late.status_code, late.json()["type"]) == (504, "urn:ragsaver:problem:deadline-exceeded")
            assert search("0").status_code == 422
    finally:
        access.close()
