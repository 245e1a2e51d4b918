"""Words in memory are those that a reader may read now: nothing of others, and no change is missed."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from ragsaver.components.lexical_retriever import LexicalRetriever
from ragsaver.components.passages import Passages
from ragsaver.components.request import Request, running
from ragsaver.errors import MissingExtra, UsageError
from ragsaver.index.keys import LISTED_IN
from ragsaver.index.scope import Scope
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.runtime import Runtime
from tests.isolation.strangers import CORPORA, GROUPS, PAIRS, QUESTIONS
from tests.model_runs import tell_runs
from tests.test_docs import ROOT, blocks

ZEBRA, HORSE = "A zebra has black and white stripes.", "A horse eats hay in its stable."


@pytest.fixture
def retriever(runtime: Runtime) -> LexicalRetriever:
    made = LexicalRetriever()
    made.bind(runtime.resources)
    return made


def bring(runtime: Runtime, texts: dict[str, str], scope: Scope | None = None, **metadata: Any) -> None:
    documents = [PostedDocument(name, text, "text", metadata) for name, text in texts.items()]
    report = runtime.ingestor.ingest_texts(documents, scope or runtime.scope())
    assert report.documents.failed == 0


def ask(retriever: LexicalRetriever, scope: Scope, question: str) -> Passages:
    with running(Request(scope)):
        return retriever.run(question)["documents"]


def found(retriever: LexicalRetriever, scope: Scope, question: str) -> list[str]:
    return [passage.content for passage in ask(retriever, scope, question)]


def test_what_has_the_question_s_words_comes_best_first(runtime: Runtime, retriever: LexicalRetriever) -> None:
    bring(runtime, {"zebra": ZEBRA, "horse": HORSE, "both": "A zebra is a kind of horse, say some."})
    zebra, both = ask(retriever, runtime.reading(), "How many stripes has a zebra?")
    assert (zebra.content, zebra.score, zebra.meta["source"]) == (ZEBRA, 1.0, "zebra")
    assert zebra.meta["lexical_score"] > both.meta["lexical_score"] > 0 and both.score == 0.0
    assert zebra.meta["dense_score"] is None
    assert found(retriever, runtime.reading(), "Nothing of the sort") == []


def test_it_finds_what_the_index_finds_by_words(runtime: Runtime, retriever: LexicalRetriever) -> None:
    bring(runtime, {"zebra": ZEBRA, "horse": HORSE, "both": "A zebra is a kind of horse, say some."})
    for question in ("zebra stripes", "horse", "zebra horse hay"):
        vector = runtime.encoder.encode([question])[0]
        legs = runtime.index.search(runtime.reading(), question, vector, 10)
        assert {hit.id for hit in legs.lexical} == {one.id for one in ask(retriever, runtime.reading(), question)}


def test_every_change_of_the_collection_is_seen_by_the_next_question(
    runtime: Runtime, retriever: LexicalRetriever
) -> None:
    scope = runtime.reading()
    assert found(retriever, scope, "zebra") == []
    bring(runtime, {"zebra": ZEBRA})
    assert found(retriever, scope, "zebra") == [ZEBRA]
    bring(runtime, {"zebra": "A zebra sleeps standing."})
    assert found(retriever, scope, "zebra") == ["A zebra sleeps standing."]
    runtime.ingestor.forget(runtime.scope(), lambda known: list(known.values()))
    assert found(retriever, scope, "zebra") == []


def test_the_index_is_read_again_only_after_a_change(
    runtime: Runtime, retriever: LexicalRetriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(runtime, {"zebra": ZEBRA})
    reads, really = 0, runtime.index.ids

    def ids(scope: Scope) -> Any:
        nonlocal reads
        reads += 1
        return really(scope)

    monkeypatch.setattr(runtime.index, "ids", ids)
    for _ in range(3):
        assert found(retriever, runtime.reading(), "zebra") == [ZEBRA]
    assert reads == 1
    monkeypatch.setattr(runtime.index, "changes", lambda: None)  # as a server does
    for _ in range(2):
        assert found(retriever, runtime.reading(), "zebra") == [ZEBRA]
    assert reads == 3


def test_what_is_not_listed_yet_is_not_found(runtime: Runtime, retriever: LexicalRetriever) -> None:
    bring(runtime, {"zebra": ZEBRA})
    (kept,) = [point for some in runtime.index.stored(runtime.scope()) for point in some]
    payload = {key: value for key, value in kept.payload.items() if key != LISTED_IN}
    runtime.index.restore(runtime.scope(), [replace(kept, payload=payload)])
    assert found(retriever, runtime.reading(), "zebra") == []
    runtime.index.list_and_delete(runtime.scope(), [kept.id], [])
    assert found(retriever, runtime.reading(), "zebra") == [ZEBRA]


def test_a_reader_finds_what_the_groups_may_read_and_no_more_when_they_may_not(
    runtime: Runtime, retriever: LexicalRetriever
) -> None:
    hr, nobody = (Scope("default", "default", groups) for groups in (frozenset({"hr"}), frozenset[str]()))
    trusted = Scope("default", "default")
    bring(runtime, {"zebra": ZEBRA}, trusted, groups=["hr"])
    bring(runtime, {"horse": HORSE}, trusted)
    assert found(retriever, hr, "zebra") == [ZEBRA]
    assert found(retriever, nobody, "zebra") == []
    bring(runtime, {"zebra": ZEBRA}, trusted, groups=["it"])
    assert found(retriever, hr, "zebra") == []
    bring(runtime, {"zebra": ZEBRA}, trusted)
    assert found(retriever, nobody, "zebra") == [ZEBRA]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PAIRS, CORPORA, CORPORA, GROUPS, QUESTIONS)
def test_scores_are_as_if_other_tenants_and_groups_were_not_there(
    runtime: Runtime, pair: tuple[Scope, Scope], mine: list[str], theirs: list[str], groups: list[str], question: str
) -> None:
    retriever = LexicalRetriever()
    retriever.bind(runtime.resources)
    me, them = pair
    reader = Scope(me.tenant, me.collection, frozenset({"nobody else's"}))

    def told() -> list[tuple[str, float | None, Any]]:
        return [(one.content or "", one.score, one.meta["lexical_score"]) for one in ask(retriever, reader, question)]

    try:
        bring(runtime, named("mine", mine), me)
        before = told()
        bring(runtime, named("theirs", theirs), them)
        if groups:
            bring(runtime, named("others", theirs), me, groups=groups)
        assert told() == before
    finally:
        for scope in (me, them):
            runtime.ingestor.forget(scope, lambda known: list(known.values()))


def named(prefix: str, texts: Sequence[str]) -> dict[str, str]:
    return {f"{prefix}-{n}.txt": text for n, text in enumerate(texts)}


def test_a_collection_that_is_too_large_is_refused_with_the_remedy(runtime: Runtime) -> None:
    retriever = LexicalRetriever(max_chunks=2)
    retriever.bind(runtime.resources)
    bring(runtime, {"zebra": ZEBRA, "horse": HORSE})
    assert found(retriever, runtime.reading(), "zebra") == [ZEBRA]
    bring(runtime, {"cow": "A cow gives milk."})
    with pytest.raises(UsageError, match="LexicalRetriever, collection default: .*more than 2 chunks.*HybridRetriever"):
        ask(retriever, runtime.reading(), "zebra")
    assert found(retriever, runtime.reading("other"), "zebra") == []


def test_the_pipeline_of_the_docs_searches_without_the_model_and_explains(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = [one for one in blocks(ROOT / "docs/reference/pipelines.md", "yaml") if "LexicalRetriever" in one]
    runtime.settings.pipelines_dir.mkdir()
    (runtime.settings.pipelines_dir / "search.yaml").write_text(text)
    bring(runtime, {"zebra": ZEBRA, "horse": HORSE})
    tell_runs(lambda *_: pytest.fail("the model ran"), monkeypatch.setattr)
    result = runtime.engine().search("What has stripes?", Request(runtime.reading()), explain=True)
    assert [passage.text for passage in result.passages] == [ZEBRA]
    assert result.debug is not None and result.debug.fusion == "BM25 alone"


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rank_bm25", None)
    with pytest.raises(MissingExtra, match=r"ragsaver\[lexical\]"):
        LexicalRetriever()


@pytest.mark.parametrize("name", ["candidates", "top_k", "max_chunks"])
def test_a_number_that_makes_no_sense_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        LexicalRetriever(**{name: 0})
