"""Whatever tenants, collections and groups are called and whatever they ask: nobody gets what is kept for another."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragsaver.caching.alike import Alike
from ragsaver.components.evidence import Evidence
from ragsaver.components.request import Request
from ragsaver.index.scope import Scope
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.answers import AnswerCache
from ragsaver.pipelines.result import AskResult, Route
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings
from ragsaver.spend.receipt import OpenReceipt, Receipt
from tests.isolation.strangers import GROUPS, PAIRS, QUESTIONS

patiently = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
QUESTION = "Who keeps the light of the harbour?"


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    with tempfile.TemporaryDirectory() as folder, open_runtime(Settings(home=Path(folder)), "a test") as opened:
        yield opened


def ask(runtime: Runtime, scope: Scope, question: str = QUESTION) -> AskResult:
    return runtime.engine().ask(question, Request(scope))


def put(runtime: Runtime, scope: Scope, keeper: str, groups: list[str]) -> None:
    text = f"# Harbour\n\nThe light of the harbour is kept by {keeper}."
    metadata = {"groups": groups} if groups else {}
    trusted = Scope(scope.tenant, scope.collection)
    assert not runtime.ingestor.ingest_texts([PostedDocument("harbour.md", text, metadata=metadata)], trusted).errors


def forget(runtime: Runtime, scope: Scope) -> None:
    runtime.ingestor.forget(Scope(scope.tenant, scope.collection), lambda known: list(known.values()))


@patiently
@given(PAIRS, st.sampled_from(["", "{}", "[]", "null"]))
def test_another_tenant_s_or_collection_s_answer_is_never_given(runtime: Runtime, pair: tuple[Scope, Scope], more: str):
    one, other = (Scope(scope.tenant, scope.collection, frozenset()) for scope in pair)
    question = f"{QUESTION} {more}"
    put(runtime, one, "Alice", [])
    try:
        first = ask(runtime, one, question)
        assert "Alice" in str(first.answer) and "Alice" in str(ask(runtime, one, question).answer)
        for _ in range(2):
            assert ask(runtime, other, question).answer is None
        put(runtime, other, "Bob", [])
        for _ in range(2):
            assert "Bob" in str(ask(runtime, other, question).answer)
            assert "Alice" in str(ask(runtime, one, question).answer)
    finally:
        forget(runtime, one)
        forget(runtime, other)


@patiently
@given(GROUPS, GROUPS, GROUPS)
def test_who_may_not_read_the_document_never_gets_the_answer(
    runtime: Runtime, readers: list[str], mine: list[str], theirs: list[str]
):
    scopes = [Scope("acme", "docs", frozenset(groups)) for groups in (mine, theirs)]
    named = sorted({one for one in readers if one.strip()})
    put(runtime, scopes[0], "Alice", named)
    try:
        for scope in (*scopes, *scopes):
            assert (ask(runtime, scope).answer is not None) == scope.reads(named)
        changed = sorted({*mine, "somebody else"})
        put(runtime, scopes[0], "Alice", changed)
        for scope in (*scopes, *scopes):
            assert (ask(runtime, scope).answer is not None) == scope.reads(changed)
    finally:
        forget(runtime, scopes[0])


@patiently
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["Alice", "Bob", None])), max_size=6))
def test_an_answer_is_what_the_documents_say_now(runtime: Runtime, changes: list[tuple[str, str | None]]):
    """Any history of edits and deletions, asked after each: a hit says what a fresh answer says."""
    scope = Scope("acme", "history", frozenset())
    try:
        for name, keeper in changes:
            place = Scope("acme", f"history-{name}", frozenset())
            if keeper is None:
                forget(runtime, place)
            else:
                put(runtime, place, keeper, [])
            for one in (Scope("acme", "history-a", frozenset()), Scope("acme", "history-b", frozenset())):
                fresh = runtime.engine().ask(QUESTION, Request(one, caching="off"))
                for _ in range(2):
                    kept = ask(runtime, one)
                    assert (kept.answer, kept.citations) == (fresh.answer, fresh.citations)
    finally:
        for name in "ab":
            forget(runtime, Scope("acme", f"history-{name}"))
        assert ask(runtime, scope).answer is None


@patiently
@given(PAIRS, QUESTIONS)
def test_what_was_asked_is_found_by_likeness_by_nobody_else(runtime: Runtime, pair: tuple[Scope, Scope], question: str):
    """Neither by this process nor by one that reads it from the store."""
    cache, store = AnswerCache(runtime.resources, "fingerprint"), runtime.resources.caches.answers
    assert store is not None
    one, two = (cache.turn(question, Request(scope)) for scope in pair)
    assert one and two
    vector, here = runtime.resources.embed_question(question), Alike(10)
    store.put(one._key, b"an answer", 60)
    here.put(store, one._shelf, one._key, question, vector, 60)
    for alike in (here, Alike(10)):
        assert [near.label for near in alike.near(store, one._shelf, "answer", vector, 0.9, 8)] == [one._key]
        assert alike.near(store, two._shelf, "answer", vector, -1.0, 8) == []
    store.clear()


@patiently
@given(PAIRS, QUESTIONS, QUESTIONS)
def test_an_entry_under_a_stranger_s_key_would_still_not_be_given(
    runtime: Runtime, pair: tuple[Scope, Scope], question: str, other: str
):
    """Even if two keys were the same: an entry says whose it is, and what was asked."""
    cache = AnswerCache(runtime.resources, "fingerprint")
    one, two = (cache.turn(question, Request(scope)) for scope in pair)
    assert one and two and one._key != two._key
    with_same_key = cache.turn(other, Request(pair[1]))
    assert with_same_key is not None
    told = AskResult(
        answer=None,
        reason="no",
        route=Route(tier="t", reason="r"),
        receipt=Receipt(),
        latency_ms={},
        request_id="r",
    )
    one.keep(told, OpenReceipt(), Evidence(mark=runtime.manifest.changes.mark(pair[0])))
    stored = runtime.resources.caches.answers.get(one._key)
    runtime.resources.caches.answers.put(with_same_key._key, stored, 60)
    assert with_same_key._kept(with_same_key._key, with_same_key._asked) is None
    runtime.resources.caches.answers.clear()
