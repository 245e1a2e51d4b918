"""Whatever others are called, have in and ask: an index tells a tenant what it would tell if it were alone."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragsaver.errors import UsageError
from ragsaver.index.blend import Blend
from ragsaver.index.keys import DOCUMENT_ID, LISTED_IN, SCOPE, scope_key
from ragsaver.index.protocol import VectorIndex
from ragsaver.index.scope import Scope
from tests.index.engines import engine, needs_server
from tests.index.points import IDENTITY, listed
from tests.isolation.strangers import (
    CORPORA,
    GROUPS,
    NAMES,
    PAIRS,
    QUESTIONS,
    REFUSED,
    SCOPES,
    TEXTS,
    all_that_is_seen,
    points_of,
    scope_or_none,
    vector_of,
)

# Every example leaves the index as empty as it found it.
patiently = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=["edge", "local", pytest.param("server", marks=needs_server)])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorIndex]:
    with engine(request.param, tmp_path) as opening:
        opened = opening(IDENTITY)
        yield opened
        opened.close()


def emptied(index: VectorIndex, *scopes: Scope) -> None:
    for scope in scopes:
        index.list_and_delete(scope, [], [one for one, _ in index.ids(scope)])


@patiently
@given(PAIRS, CORPORA, CORPORA, QUESTIONS)
def test_another_s_points_change_nothing_that_a_tenant_sees(
    index: VectorIndex, pair: tuple[Scope, Scope], mine: Sequence[str], theirs: Sequence[str], question: str
) -> None:
    me, them = pair
    emptied(index, me, them)
    my_points = points_of(mine)
    # What they carry claims to be mine.
    their_points = points_of([*theirs, *mine], **{SCOPE: scope_key(me), LISTED_IN: scope_key(me), DOCUMENT_ID: "doc"})
    ids = [one.id for one in (*my_points, *their_points)]
    listed(index, me, *my_points)
    alone = all_that_is_seen(index, me, question, ids)
    assert set(alone["ids"]) == {one.id for one in my_points}

    index.upsert(them, their_points)
    assert all_that_is_seen(index, me, question, ids) == alone
    listed(index, them, *their_points)
    assert all_that_is_seen(index, me, question, ids) == alone

    assert set(all_that_is_seen(index, them, question, ids)["ids"]) == {one.id for one in their_points}
    index.list_and_delete(them, ids, ids)
    assert all_that_is_seen(index, me, question, ids) == alone
    emptied(index, me, them)
    assert index.scopes() == []


@patiently
@given(PAIRS, CORPORA, CORPORA, QUESTIONS)
def test_nothing_that_a_tenant_does_reaches_another_s_points(
    index: VectorIndex, pair: tuple[Scope, Scope], mine: Sequence[str], theirs: Sequence[str], question: str
) -> None:
    me, them = pair
    emptied(index, me, them)
    my_points, their_points = points_of(mine), points_of(theirs)
    ids = [one.id for one in (*my_points, *their_points)]
    listed(index, me, *my_points)
    index.upsert(them, their_points)
    before = all_that_is_seen(index, them, question, ids)

    claims = {SCOPE: scope_key(them), LISTED_IN: scope_key(them), "text": "defaced"}
    index.set_payload(me, {one: dict(claims) for one in ids})
    index.list_and_delete(me, ids, [])
    assert set(dict(index.ids(me))) == {one.id for one in my_points}, "a point has gone to another scope"
    index.list_and_delete(me, [], ids)

    assert index.count(me) == 0
    assert all_that_is_seen(index, them, question, ids) == before
    assert index.scopes() == [them]
    emptied(index, me, them)


@patiently
@given(SCOPES, st.lists(st.tuples(TEXTS, GROUPS), min_size=1, max_size=6), GROUPS, QUESTIONS)
def test_points_of_other_groups_change_nothing_that_a_reader_sees(
    index: VectorIndex, everybody: Scope, corpus: Sequence[tuple[str, list[str]]], mine: list[str], question: str
) -> None:
    emptied(index, everybody)
    reader = replace(everybody, groups=frozenset(mine))
    points = [point for text, groups in corpus for point in points_of([text], groups=groups)]
    readable = [one for one, (_, groups) in zip(points, corpus, strict=True) if not groups or set(groups) & set(mine)]
    hidden = [one for one in points if one not in readable]
    ids = [one.id for one in points]
    listed(index, everybody, *readable)
    alone = all_that_is_seen(index, reader, question, ids)
    assert set(alone["ids"]) == {one.id for one in readable}

    listed(index, everybody, *hidden)
    assert all_that_is_seen(index, reader, question, ids) == alone
    index.set_payload(reader, {one.id: {"groups": mine} for one in hidden})
    index.list_and_delete(reader, [], [one.id for one in hidden])
    assert all_that_is_seen(index, reader, question, ids) == alone
    assert index.count(everybody) == len(points)

    index.set_payload(everybody, {one.id: {"groups": []} for one in hidden})
    assert set(all_that_is_seen(index, reader, question, ids)["ids"]) == set(ids)
    index.set_payload(everybody, {one.id: dict(one.payload) for one in hidden})
    assert all_that_is_seen(index, reader, question, ids) == alone
    emptied(index, everybody)


@pytest.fixture(params=["rest-awaited", pytest.param("server-awaited", marks=needs_server)])
def awaited(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorIndex]:
    with engine(request.param, tmp_path) as opening:
        opened = opening(IDENTITY)
        yield opened
        opened.close()


@settings(patiently, max_examples=20)
@given(PAIRS, CORPORA, st.lists(st.tuples(TEXTS, GROUPS), min_size=1, max_size=4), GROUPS, QUESTIONS)
def test_neither_another_s_points_nor_those_of_other_groups_change_what_a_task_finds(
    awaited: VectorIndex,
    pair: tuple[Scope, Scope],
    theirs: Sequence[str],
    corpus: Sequence[tuple[str, list[str]]],
    mine: list[str],
    question: str,
) -> None:
    me, them = pair
    reader = replace(me, groups=frozenset(mine))
    emptied(awaited, me, them)
    points = [point for text, groups in corpus for point in points_of([text], groups=groups)]
    readable = [one for one in points if reader.reads(one.payload["groups"])]

    def found() -> list[list[tuple[float, str]]]:
        legs = awaited.search(reader, question, vector_of(question), 100)
        both = awaited.blended(reader, question, vector_of(question), 100, Blend("dbsf", 0.5), 100)
        shown = [sorted((round(hit.score, 6), hit.id) for hit in leg) for leg in (legs.dense, legs.lexical)]
        return [*shown, sorted((0.0, hit.id) for hit in both)]  # see `all_that_is_seen`

    listed(awaited, me, *readable)
    alone = found()
    assert {one for _, one in alone[0]} == {one.id for one in readable}
    listed(awaited, me, *[one for one in points if one not in readable])
    listed(awaited, them, *points_of(theirs, **{SCOPE: scope_key(me), LISTED_IN: scope_key(me)}))
    assert found() == alone
    emptied(awaited, me, them)


@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES))
def test_two_scopes_never_have_the_same_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    first, second = scope_or_none(*one), scope_or_none(*other)
    if first and second:
        assert (scope_key(first) == scope_key(second)) == (one == other)


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_could_be_read_as_another_is_no_scope(name: str) -> None:
    for names in ((name, "docs"), ("acme", name)):
        with pytest.raises(UsageError, match="can't name a tenant"):
            Scope(*names)
