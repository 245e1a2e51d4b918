"""A search has no filter where that says nothing, and finds the same with and without one."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragsaver.index import edge_searches
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.scope import Scope
from ragsaver.index.sight import Sight
from tests.index.points import ACME, IDENTITY, RIVAL, listed, point, vector

READER = replace(ACME, groups=frozenset({"it"}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def index(folder: Path) -> Iterator[EdgeIndex]:
    with closing(EdgeIndex(folder, IDENTITY)) as opened:
        listed(opened, ACME, *[point(f"horse {n}", n) for n in range(8)])
        yield opened


Asked = Callable[..., tuple[set[str], bool]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What a question finds, and whether its last search had a filter."""
    filters: list[Any] = []
    leg = edge_searches.AskedLeg

    def noted(vector: Any, using: str, limit: int, visible: Any, *more: Any) -> Any:
        filters.append(visible)
        return leg(vector, using, limit, visible, *more)

    monkeypatch.setattr(edge_searches, "AskedLeg", noted)

    def ask(index: EdgeIndex, scope: Scope = ACME) -> tuple[set[str], bool]:
        found = index.search(scope, "horse", vector(0), 50)
        return {hit.payload["text"] for hit in (*found.dense, *found.lexical)}, filters[-1] is not None

    return ask


HORSES = {f"horse {n}" for n in range(8)}


def test_where_all_points_are_there_for_whoever_asks_a_search_has_no_filter(index: EdgeIndex, asked: Asked):
    assert asked(index) == asked(index, READER) == (HORSES, False)
    assert asked(index, RIVAL) == (set(), True)


def test_points_that_are_not_listed_yet_are_not_found_even_after_a_stop(index: EdgeIndex, folder: Path, asked: Asked):
    coming = [point("horse to come"), point("horse that never comes")]
    index.upsert(ACME, coming)
    assert asked(index) == (HORSES, True)
    index.close()
    with closing(EdgeIndex(folder, IDENTITY)) as again:
        assert asked(again) == (HORSES, True)
        again.list_and_delete(ACME, [coming[0].id], [])
        assert asked(again) == (HORSES | {"horse to come"}, True)
        again.list_and_delete(ACME, [], [coming[1].id])
        assert asked(again) == (HORSES | {"horse to come"}, False)


def test_a_point_that_is_written_again_is_not_listed_any_more(index: EdgeIndex, asked: Asked):
    new = point("horse again")
    listed(index, ACME, new)
    index.upsert(ACME, [new])
    assert asked(index) == (HORSES, True)


def test_who_has_no_points_shows_none_of_others(index: EdgeIndex, asked: Asked):
    new = point("horse to come")
    index.upsert(ACME, [new])
    index.list_and_delete(RIVAL, [new.id], [new.id])
    assert asked(index) == (HORSES, True)


def test_another_scope_s_first_point_brings_the_filter_for_good(index: EdgeIndex, folder: Path, asked: Asked):
    theirs = point("horse of others")
    index.upsert(RIVAL, [theirs])
    assert asked(index) == (HORSES, True)
    index.list_and_delete(RIVAL, [theirs.id], [])
    assert asked(index) == (HORSES, True)
    assert asked(index, RIVAL) == ({"horse of others"}, True)
    index.close()
    with closing(EdgeIndex(folder, IDENTITY)) as again:
        assert asked(again) == (HORSES, True)
        again.list_and_delete(RIVAL, [], [theirs.id])
        again.optimise(force=True)
        assert asked(again) == (HORSES, False)


@pytest.mark.parametrize("late", [False, True])
def test_points_that_name_groups_bring_it(index: EdgeIndex, folder: Path, asked: Asked, late: bool):
    secret = point("horse of a few", **({} if late else {"groups": ["hr"]}))
    listed(index, ACME, secret)
    if late:
        assert asked(index, READER) == (HORSES | {"horse of a few"}, False)
        index.set_payload(ACME, {secret.id: {"text": "horse of a few", "groups": ["hr"]}})
    assert asked(index, READER) == (HORSES, True)
    index.close()
    with closing(EdgeIndex(folder, IDENTITY)) as again:
        assert asked(again, READER) == (HORSES, True)


def test_what_comes_from_another_index_is_as_listed_as_it_was_there(index: EdgeIndex, tmp_path: Path, asked: Asked):
    with closing(EdgeIndex(tmp_path / "other", IDENTITY)) as other:
        listed(other, ACME, point("horse from there"))
        other.upsert(ACME, [point("horse not listed there")])
        for some in other.stored(ACME):
            index.restore(ACME, some)
    assert asked(index) == (HORSES | {"horse from there"}, True)


@pytest.mark.parametrize("scope", [ACME, RIVAL])
@pytest.mark.parametrize("shown", [False, True])
def test_what_is_written_in_the_midst_of_a_search_is_not_seen_by_it(
    index: EdgeIndex, asked: Asked, monkeypatch: pytest.MonkeyPatch, scope: Scope, shown: bool
):
    really, searches = index._read, 0

    def read(call: Callable[[Any], Any]) -> Any:
        nonlocal searches
        if "_asked" in call.__qualname__:
            searches += 1
            if searches == 1:
                new = point("horse in between")
                index.upsert(scope, [new])
                found = really(call)
                if shown:
                    index.list_and_delete(scope, [new.id], [])
                return found
        return really(call)

    monkeypatch.setattr(index, "_read", read)
    seen = HORSES | ({"horse in between"} if shown and scope is ACME else set())
    assert asked(index)[0] == seen
    assert searches >= 2


IDS = st.sampled_from("abcd")
CHANGES = st.one_of(
    st.tuples(st.just("write"), st.sampled_from([ACME, RIVAL]), st.sets(IDS, max_size=2), st.booleans()),
    st.tuples(st.just("list"), st.sampled_from([ACME, RIVAL]), st.sets(IDS, max_size=3), st.just(False)),
)


@given(st.lists(CHANGES, max_size=8), st.lists(CHANGES, max_size=3))
@settings(max_examples=200)
def test_a_mark_is_given_only_where_nothing_is_hidden_and_a_change_makes_another(before: list, between: list):
    sight = Sight("", {})
    hidden: dict[str, Scope] = {}
    scopes: set[Scope] = set()
    grouped = False

    def take(changes: list) -> None:
        nonlocal grouped
        for kind, scope, ids, names_groups in changes:
            if kind == "write":
                sight.written(scope, ids, grouped=names_groups)
                hidden.update(dict.fromkeys(ids, scope))
                scopes.add(scope)
                grouped |= names_groups
            else:
                sight.listed(scope, ids)
                for one in ids:
                    if hidden.get(one) is scope:
                        del hidden[one]

    take(before)
    mark = sight.mark(ACME)
    assert (mark is not None) == (scopes == {ACME} and not hidden and not grouped)
    take(between)
    if any(kind == "write" for kind, *_ in between):
        assert mark is None or sight.mark(ACME) != mark
