"""One engine, many questions: from threads, from tasks, streamed, and through pipelines of other shapes."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from ragsaver.components.answer_schema import read_schema
from ragsaver.components.request import Request
from ragsaver.errors import PipelineError, QuestionTooLong, Unsupported, UsageError
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.places import find_pipeline
from ragsaver.pipelines.runtime import Runtime

FACTS = {n: f"The beacon of island {n} was lit in the year {1800 + n} by keeper Number{n}." for n in range(12)}


@pytest.fixture
def filled(runtime: Runtime) -> Runtime:
    documents = [PostedDocument(f"island-{n}.md", f"# Island {n}\n\n{fact}") for n, fact in FACTS.items()]
    assert runtime.ingestor.ingest_texts(documents, runtime.scope()).documents.added == len(FACTS)
    return runtime


def question(n: int) -> str:
    return f"In which year was the beacon of island {n} lit?"


def test_threads_and_tasks_get_their_own_answers_and_receipts(filled: Runtime):
    engine = filled.engine()

    def request():
        return Request(filled.resources.default_scope, caching="off")

    async def in_tasks():
        return await asyncio.gather(*(engine.ask_async(question(n), request()) for n in FACTS))

    with ThreadPoolExecutor(6) as pool:
        threaded = list(pool.map(lambda n: engine.ask(question(n), request()), FACTS))
    for results in (threaded, asyncio.run(in_tasks())):
        for n, result in zip(FACTS, results, strict=True):
            assert result.answer == FACTS[n]
            assert [citation.source for citation in result.citations] == [f"island-{n}.md"]
            assert sum(line.stage == "retrieve" for line in result.receipt.lines) == 1
        assert len({result.request_id for result in results}) == len(FACTS)


def test_a_stream_ends_with_the_same_result(filled: Runtime):
    async def collect():
        return [part async for part in filled.engine().stream(question(3))]

    *_, last = asyncio.run(collect())
    assert last.answer == FACTS[3]


def test_an_answer_says_how_long_each_stage_took(filled: Runtime):
    spent = filled.engine().ask(question(1)).latency_ms
    assert {"embed_query", "retrieve", "deduplicate", "pack", "generate", "cite", "total"} <= set(spent)
    assert sum(spent.values()) - spent["total"] <= spent["total"]


def test_another_tenant_and_another_collection_see_nothing(filled: Runtime):
    for scope in (filled.scope("elsewhere"), filled.scope(tenant="someone-else")):
        assert filled.engine().ask(question(1), Request(scope)).answer is None
        assert filled.engine().search(question(1), Request(scope)).passages == ()


def test_an_empty_index_gives_no_answer_and_a_reason(runtime: Runtime):
    result = runtime.engine().ask("Anything at all?")
    assert (result.answer, result.citations) == (None, ())
    assert "no passage was found" in result.reason and "ragsaver ingest" in result.reason
    assert result.receipt.cost_usd == 0


def test_search_gives_as_many_passages_as_asked_for_best_first(filled: Runtime):
    found = filled.engine().search(question(7), top_k=3).passages
    assert len(found) == 3
    assert found[0].source == "island-7.md"
    assert [passage.score for passage in found] == sorted((p.score for p in found), reverse=True)


def test_bad_questions_are_refused(filled: Runtime):
    engine = filled.engine()
    for bad, error in ((" \n", UsageError), ("x" * 8001, QuestionTooLong), ("\udcff", UsageError)):
        with pytest.raises(error):
            engine.ask(bad)
    for top_k in (0, -1, 1001):
        with pytest.raises(UsageError, match="top_k"):
            engine.search("island", top_k=top_k)


def test_a_pipeline_without_answers_is_refused_when_it_is_loaded(filled: Runtime):
    folder = filled.settings.pipelines_dir
    folder.mkdir()
    (folder / "mine.yaml").write_text(find_pipeline("search", folder).read_text())
    with pytest.raises(PipelineError, match=r"no component gives out `answers`.*CitedAnswerBuilder"):
        filled.engine("mine")


def test_a_schema_is_refused_by_a_pipeline_that_knows_none(filled: Runtime):
    folder = filled.settings.pipelines_dir
    folder.mkdir()
    before, rest = find_pipeline("query", folder).read_text().split("  generator:")
    rest = rest[rest.index("  answer_builder:") :].replace("generator.replies", "prompt_builder.messages")
    lines = [line for line in rest.splitlines() if "receiver: generator" not in line]
    (folder / "mine.yaml").write_text(before + "\n".join(lines))
    wanted = Request(filled.scope(), response_schema=read_schema({"type": "object"}))
    with pytest.raises(Unsupported, match=r"knows no JSON schema"):
        filled.engine("mine").ask(question(1), wanted)


def test_a_component_that_fails_is_named(filled: Runtime, monkeypatch: pytest.MonkeyPatch):
    packer = filled.engine().pipeline.get_component("packer")
    monkeypatch.setattr(packer, "candidates", lambda documents: 1 / 0)
    with pytest.raises(PipelineError, match=r"packer(.|\n)*division by zero"):
        filled.engine().ask(question(1))
