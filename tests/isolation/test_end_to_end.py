"""Two tenants, two readers, any shipped pipeline: what one is told and pays is as if the other were not there."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragsaver.components.request import Request
from ragsaver.index.scope import Scope
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.engine import QueryEngine
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app
from tests.isolation.asking import PIPELINES, Asked, asking
from tests.isolation.strangers import CORPORA, GROUPS, PAIRS, QUESTIONS, SCOPES, TEXTS

# Every example leaves the runtime without documents; what the embedding cache keeps is counted.
patiently = settings(max_examples=-(-20 // len(PIPELINES)), suppress_health_check=[HealthCheck.function_scoped_fixture])
METADATA = st.sampled_from([{}, {"scope": "a/a", "listed_in": "a/a"}, {"document_id": "*", "tenant": "a"}])


def brought_in(runtime: Runtime, scope: Scope, texts: Sequence[str], metadata: dict[str, Any]) -> int:
    """How many texts were paid for."""
    documents = [PostedDocument(f"{n}.txt", text, "text", metadata) for n, text in enumerate(texts)]
    report = runtime.ingestor.ingest_texts(documents, scope)
    assert report.documents.failed == 0
    return report.chunks.embedded


def emptied(runtime: Runtime, *scopes: Scope) -> None:
    for scope in scopes:
        runtime.ingestor.forget(scope, lambda known: list(known.values()))


@pytest.fixture(params=PIPELINES)
def asked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Asked]:
    with asking(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def embedded_before() -> dict[str, set[str]]:
    """By tenant: what its own part of the cache may give it."""
    return defaultdict(set)


@patiently
@given(PAIRS, CORPORA, CORPORA, QUESTIONS, METADATA)
def test_a_tenant_is_told_and_pays_what_it_would_alone(
    asked: Asked,
    embedded_before: dict[str, set[str]],
    pair: tuple[Scope, Scope],
    mine: Sequence[str],
    theirs: Sequence[str],
    question: str,
    metadata: dict[str, Any],
) -> None:
    runtime, (me, them) = asked.runtime, pair
    emptied(runtime, me, them)
    question = question.strip() or "zebra"

    def paid(scope: Scope, texts: Sequence[str]) -> None:
        before = embedded_before[scope.tenant]
        assert brought_in(runtime, scope, texts, metadata) == len(set(texts) - before)
        before.update(texts)

    paid(me, mine)
    alone = asked.told(me, question)
    paid(them, [*theirs, *mine])
    assert asked.told(me, question, beside=them) == alone

    their_ids = {one.id for one in asked.found(them, question)}
    my_ids = {one.id for one in asked.found(me, question)}
    assert their_ids and my_ids and not their_ids & my_ids
    emptied(runtime, them)
    assert asked.told(me, question) == alone
    emptied(runtime, me)


@patiently
@given(SCOPES, st.lists(st.tuples(TEXTS, GROUPS), min_size=1, max_size=5), GROUPS, QUESTIONS)
def test_what_a_reader_may_not_read_changes_nothing_that_it_is_told(
    asked: Asked, everybody: Scope, corpus: Sequence[tuple[str, list[str]]], mine: list[str], question: str
) -> None:
    runtime, reader = asked.runtime, replace(everybody, groups=frozenset(mine))
    question = question.strip() or "zebra"
    emptied(runtime, everybody)
    documents = [
        PostedDocument(f"{n}.txt", text, "text", {"groups": groups} if groups else {})
        for n, (text, groups) in enumerate(corpus)
    ]
    readable = [one for one, (_, groups) in zip(documents, corpus, strict=True) if reader.reads(groups)]

    runtime.ingestor.ingest_texts(readable, everybody)
    alone = asked.told(reader, question)
    assert len(alone["documents"]) == len(readable)
    runtime.ingestor.ingest_texts(documents, everybody)
    assert asked.told(reader, question, beside=everybody) == alone

    opened = [replace(one, metadata={}) for one in documents]
    assert runtime.ingestor.ingest_texts(opened, everybody).chunks.embedded == 0
    assert asked.told(reader, question)["documents"] == asked.told(everybody, question)["documents"]
    assert runtime.ingestor.ingest_texts(documents, everybody).chunks.embedded == 0
    assert asked.told(reader, question, beside=everybody) == alone
    emptied(runtime, everybody)


@pytest.mark.parametrize("groups", ["sales", [], [""], [" "], [1], None, {"sales": True}, [["sales"]]])
def test_groups_that_leave_open_who_is_meant_keep_a_document_out(runtime: Runtime, groups: object) -> None:
    posted = PostedDocument("a.txt", "a zebra", "text", {"groups": groups})
    report = runtime.ingestor.ingest_texts([posted], runtime.scope())
    assert report.documents.failed == 1
    assert "`groups` is no list of names" in report.errors[0].error
    assert runtime.engine().search("zebra", Request(runtime.scope())).passages == ()


def test_questions_are_asked_in_the_name_of_the_settings_groups(runtime: Runtime) -> None:
    runtime.ingestor.ingest_texts(
        [
            PostedDocument("open.txt", "a zebra for all", "text"),
            PostedDocument("hr.txt", "a zebra for the few", "text", {"groups": ["hr"]}),
        ],
        runtime.scope(),
    )
    groups: list[str]
    for groups, sources in (([], {"open.txt"}), (["it"], {"open.txt"}), (["hr", "it"], {"open.txt", "hr.txt"})):
        asked = runtime.settings.model_copy(update={"groups": groups})
        access = Access(LiveRuntime(Runtime(replace(runtime.resources, settings=asked))), "token")
        with TestClient(create_app(access), raise_server_exceptions=False) as client:
            found = client.post("/v1/search", json={"query": "zebra"}).json()["passages"]
            listed = client.get("/v1/documents").json()["documents"]
            answer = client.post("/v1/query", json={"query": "Who is a zebra for?", "debug": True}).json()
        assert {one["source"] for one in found} == {one["source"] for one in listed} == sources
        assert {one["source"] for one in answer["debug"]["passages"]} == sources
        no_request = QueryEngine(replace(runtime.resources, settings=asked)).search("zebra").passages
        assert {one.source for one in no_request} == sources
        access.close()


@pytest.mark.parametrize("field", ["tenant", "scope", "groups", "filter", "filters", "where", "access"])
def test_no_request_names_what_it_may_see(runtime: Runtime, field: str) -> None:
    access = Access(LiveRuntime(runtime), "token")
    with TestClient(create_app(access), raise_server_exceptions=False) as client:
        for route in ("/v1/query", "/v1/search"):
            assert client.post(route, json={"query": "zebra", field: ["*"]}).status_code == 422
    access.close()
