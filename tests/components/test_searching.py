"""A task's question is looked for on its event loop, and finds, keeps and tells what a thread's does."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragsaver.components.evidence import Evidence, gathering
from ragsaver.components.explain import explaining
from ragsaver.components.request import Request, running
from ragsaver.components.retriever import HybridRetriever
from ragsaver.errors import IndexUnavailable
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.result import AskResult
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings
from ragsaver.spend.receipt import OpenReceipt, open_receipt
from tests.qdrant_server import StandIn, qdrant_server

QUESTION = "What do owls hunt at night?"
SEARCHED = "/points/query/batch"


@pytest.fixture
def server() -> Iterator[StandIn]:
    with qdrant_server() as started:
        yield started


@pytest.fixture
def filled(server: StandIn, tmp_path: Path) -> Iterator[Runtime]:
    index = {"engine": "qdrant", "url": server.url, "grpc_port": None}
    # both legs' disagreement sends the second search too
    retrieval = {"feedback_passages": 3}
    settings = Settings(home=tmp_path, index=index, retrieval=retrieval)
    documents = [
        PostedDocument("owls.md", "# Owls\n\nOwls hunt voles at night, and the voles know it.\n"),
        PostedDocument("bees.md", "# Bees\n\nBees dance to tell the others where flowers are.\n"),
        PostedDocument("hr.md", "# Owls of HR\n\nOwls hunt nobody at night.\n", metadata={"groups": ["hr"]}),
    ]
    with open_runtime(settings, "a test") as runtime:
        assert runtime.ingestor.ingest_texts(documents, runtime.scope()).documents.failed == 0
        server.asked.clear()
        yield runtime


def by_thread(*_: Any, **__: Any) -> None:
    raise AssertionError("the index was asked by a thread")


async def let_go(runtime: Runtime) -> None:
    await runtime.index.close_async()


def found(runtime: Runtime, request: Request, evidence: Evidence, *, awaited: bool) -> tuple[Any, OpenReceipt]:
    retriever = HybridRetriever()
    retriever.bind(runtime.resources)

    async def ask() -> Any:
        try:
            return await retriever.run_async(QUESTION)
        finally:
            await let_go(runtime)

    with running(request), open_receipt() as receipt, gathering(evidence):
        made = asyncio.run(ask()) if awaited else retriever.run(QUESTION)
    return [(one.id, one.content, one.score, one.meta) for one in made["documents"]], receipt


def test_an_answer_that_is_awaited_is_looked_for_on_the_event_loop(
    filled: Runtime, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    threaded = filled.engine().ask(QUESTION, Request(filled.reading(), caching="off"))
    asked = len(server.requests(SEARCHED))
    monkeypatch.setattr(filled.index, "search", by_thread)

    async def ask() -> list[AskResult]:
        awaited = await filled.engine().ask_async(QUESTION, Request(filled.reading(), caching="off"))
        request = Request(filled.reading(), caching="off")
        *_, streamed = [part async for part in filled.engine().stream(QUESTION, request)]
        assert isinstance(streamed, AskResult)
        await let_go(filled)
        return [awaited, streamed]

    for result in asyncio.run(ask()):
        assert result.answer == threaded.answer is not None
        assert result.citations == threaded.citations
        assert [(line.stage, line.quantity, line.reason) for line in result.receipt.lines] == [
            (line.stage, line.quantity, line.reason) for line in threaded.receipt.lines
        ]
        assert set(result.latency_ms) == set(threaded.latency_ms)
    assert len(server.requests(SEARCHED)) == 3 * asked


def test_what_it_finds_is_what_a_thread_finds_and_of_the_reader_s_groups_only(filled: Runtime) -> None:
    for groups, sources in (
        (frozenset(), {"owls.md", "bees.md"}),
        (frozenset({"hr"}), {"owls.md", "bees.md", "hr.md"}),
    ):
        request = Request(replace(filled.reading(), groups=groups), caching="off")
        awaited, receipt = found(filled, request, Evidence(None), awaited=True)
        threaded, as_before = found(filled, request, Evidence(None), awaited=False)
        assert awaited == threaded
        assert {meta["source"] for *_, meta in awaited} == sources
        assert receipt.whole_passage_tokens == as_before.whole_passage_tokens


@pytest.mark.parametrize("awaited_first", [True, False])
def test_what_one_of_them_found_is_kept_for_the_other(filled: Runtime, server: StandIn, awaited_first: bool) -> None:
    request = Request(filled.reading())
    truth = filled.resources.caches.truth
    assert truth is not None
    first, _ = found(filled, request, Evidence(truth.mark(request.scope)), awaited=awaited_first)
    searches = len(server.requests(SEARCHED))
    again, receipt = found(filled, request, Evidence(truth.mark(request.scope)), awaited=not awaited_first)
    assert again == first
    assert len(server.requests(SEARCHED)) == searches > 0
    assert "found before" in receipt.lines[-1].reason


def test_an_explanation_tells_the_same_of_both(filled: Runtime) -> None:
    told = []
    for awaited in (True, False):
        with explaining(True) as explanation:
            found(filled, Request(filled.reading(), caching="off"), Evidence(None), awaited=awaited)
        assert explanation is not None
        told.append(explanation.told())
    assert told[0] == told[1]


def test_the_server_is_not_asked_again_when_the_question_s_time_is_over(filled: Runtime, server: StandIn) -> None:
    for awaited in (True, False):
        server.failures = [503] * 100
        with pytest.raises(IndexUnavailable):
            late = Request(filled.reading(), caching="off", deadline=time.monotonic() + 0.4)
            found(filled, late, Evidence(None), awaited=awaited)
        assert 0 < len(server.failures) < 100
    server.failures = []


def test_whoever_stops_waiting_stops_the_search(filled: Runtime, server: StandIn) -> None:
    async def ask() -> None:
        retriever = HybridRetriever()
        retriever.bind(filled.resources)
        asking = asyncio.create_task(retriever.run_async(QUESTION))
        server.failures = [503] * 100
        while not server.requests(SEARCHED):
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await let_go(filled)

    with running(Request(filled.reading(), caching="off")):
        asyncio.run(ask())
    server.failures = []
