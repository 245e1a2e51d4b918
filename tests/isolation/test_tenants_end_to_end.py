"""Two tenants in one process: what one ingests, asks and is charged for is as if the other were not there."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragsaver.components.passages import Passages
from ragsaver.components.request import Request, running
from ragsaver.components.retriever import HybridRetriever
from ragsaver.index.scope import Scope
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.runtime import Runtime
from tests.isolation.strangers import CORPORA, PAIRS, QUESTIONS

# Every example leaves the runtime without documents; what the embedding cache keeps is counted.
patiently = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
METADATA = st.sampled_from([{}, {"scope": "a/a", "state": "listed"}, {"document_id": "*", "tenant": "a"}])


def brought_in(runtime: Runtime, scope: Scope, texts: Sequence[str], metadata: dict[str, Any]) -> int:
    """How many texts were paid for."""
    documents = [PostedDocument(f"{n}.txt", text, "text", metadata) for n, text in enumerate(texts)]
    report = runtime.ingestor.ingest_texts(documents, scope)
    assert report.documents.failed == 0
    return report.chunks.embedded


def emptied(runtime: Runtime, *scopes: Scope) -> None:
    for scope in scopes:
        runtime.ingestor.forget(scope, lambda known: list(known.values()))


def retrieved(runtime: Runtime, scope: Scope, question: str) -> Passages:
    retriever = HybridRetriever()
    retriever.bind(runtime.resources)
    with running(Request(scope)):
        return retriever.run(question)["documents"]


def told(runtime: Runtime, scope: Scope, question: str) -> dict[str, Any]:
    """All that a tenant is told, scores to the bit; not how long it took."""
    request = Request(scope, request_id="req")
    asked = runtime.engine().ask(question, request, explain=True).model_dump(exclude={"latency_ms"})
    searched = runtime.engine().search(question, Request(scope), explain=True).model_dump()
    passages = [(one.id, one.content, one.score, one.meta) for one in retrieved(runtime, scope, question)]
    documents = runtime.lifecycle.report(scope).model_dump(include={"documents", "total"})
    return {"asked": asked, "searched": searched, "passages": passages, "documents": documents}


@pytest.fixture
def embedded_before() -> dict[str, set[str]]:
    """By tenant: what its own part of the cache may give it."""
    return defaultdict(set)


@patiently
@given(PAIRS, CORPORA, CORPORA, QUESTIONS, METADATA)
def test_a_tenant_is_told_and_pays_what_it_would_alone(
    runtime: Runtime,
    embedded_before: dict[str, set[str]],
    pair: tuple[Scope, Scope],
    mine: Sequence[str],
    theirs: Sequence[str],
    question: str,
    metadata: dict[str, Any],
) -> None:
    me, them = pair
    emptied(runtime, me, them)
    question = question.strip() or "zebra"

    def paid(scope: Scope, texts: Sequence[str]) -> None:
        before = embedded_before[scope.tenant]
        assert brought_in(runtime, scope, texts, metadata) == len(set(texts) - before)
        before.update(texts)

    paid(me, mine)
    alone = told(runtime, me, question)
    paid(them, [*theirs, *mine])
    assert told(runtime, me, question) == alone

    their_ids = {one.id for one in retrieved(runtime, them, question)}
    my_ids = {one.id for one in retrieved(runtime, me, question)}
    assert their_ids and my_ids and not their_ids & my_ids
    emptied(runtime, them)
    assert told(runtime, me, question) == alone
    emptied(runtime, me)


@pytest.mark.parametrize("field", ["tenant", "scope", "groups", "filter", "filters", "where", "access"])
def test_no_request_names_what_it_may_see(runtime: Runtime, field: str) -> None:
    from fastapi.testclient import TestClient

    from ragsaver.pipelines.live import LiveRuntime
    from ragsaver.server.access import Access
    from ragsaver.server.app import create_app

    access = Access(LiveRuntime(runtime), "token")
    with TestClient(create_app(access), raise_server_exceptions=False) as client:
        for route in ("/v1/query", "/v1/search"):
            assert client.post(route, json={"query": "zebra", field: ["*"]}).status_code == 422
    access.close()
