"""A search has no filter where that says nothing, and finds the same with and without one."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragsaver.errors import StorageError
from ragsaver.index import edge_searches
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.scope import Scope
from ragsaver.index.sight import Sight
from ragsaver.index.unlisted import UnlistedFile
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
SCOPES = st.sampled_from([ACME, RIVAL])
CHANGES = st.one_of(
    st.tuples(st.just("write"), SCOPES, st.sets(IDS, max_size=2), st.booleans()),
    st.tuples(st.just("list"), SCOPES, st.sets(IDS, max_size=3), st.just(False)),
)


@given(st.lists(CHANGES, max_size=8), st.lists(CHANGES, max_size=3))
@settings(max_examples=200)
def test_a_search_has_no_filter_only_where_nothing_is_hidden_and_a_change_that_matters_to_it_is_told(
    before: list, between: list
):
    with tempfile.TemporaryDirectory() as folder:
        sight = Sight("", UnlistedFile(Path(folder)))
        coming: dict[Scope, set[str]] = {ACME: set(), RIVAL: set()}
        scopes: set[Scope] = set()
        grouped = False

        def take(changes: list) -> bool:
            """Whether what a scope's search has to leave out has changed, for ACME's."""
            nonlocal grouped
            changed = False
            for kind, scope, ids, names_groups in changes:
                if kind == "write":
                    sight.written(scope, grouped=names_groups)
                    sight.comes(scope, ids)
                    changed |= scope is ACME and bool(ids)
                    coming[scope] |= ids
                    scopes.add(scope)
                    grouped |= names_groups
                else:
                    sight.listed(scope, ids)
                    changed |= scope is ACME and bool(coming[scope] & ids)
                    coming[scope] -= ids
            return changed

        take(before)
        view = sight.of(ACME)
        assert view.filtered == (scopes != {ACME} or any(coming.values()) or grouped)
        assert view.coming == coming[ACME] == sight.coming(ACME)
        changed = take(between)
        if changed or (not view.filtered and any(kind == "write" for kind, *_ in between)):
            assert sight.of(ACME) != view
        again = UnlistedFile(Path(folder)).now
        assert again == {f"{one.tenant}/{one.collection}": ids for one, ids in coming.items() if ids}


def test_searches_of_one_scope_do_not_begin_anew_because_another_is_written_to(tmp_path: Path):
    sight = Sight(None, UnlistedFile(tmp_path))
    view = sight.of(ACME)
    sight.written(RIVAL, grouped=False)
    sight.comes(RIVAL, ["a"])
    sight.listed(RIVAL, ["a"])
    assert sight.of(ACME) == view


def test_a_point_that_was_to_be_written_when_the_process_ended_brings_no_filter_later(
    index: EdgeIndex, folder: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
):
    def ends(*_: object) -> None:
        raise KeyboardInterrupt

    there = point("horse to come")
    index.upsert(ACME, [there])
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(index, "_update", ends)
        index.upsert(ACME, [point("horse that was never written", 1)])
    index.close()
    with closing(EdgeIndex(folder, IDENTITY)) as again:
        assert asked(again) == (HORSES, True)
        assert json.loads((folder / "unlisted.json").read_text()) == {"acme/docs": [there.id]}
        again.list_and_delete(ACME, [there.id], [])
        assert asked(again) == (HORSES | {"horse to come"}, False)


def test_what_can_not_be_noted_is_not_written_and_what_was_coming_still_is(
    index: EdgeIndex, folder: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
):
    coming = point("horse to come")
    index.upsert(ACME, [coming])
    (folder / "unlisted.json.new").mkdir()
    with pytest.raises(StorageError, match=r"unlisted\.json.*can't be written.*Free some space"):
        index.upsert(ACME, [point("horse that can't be noted", 1)])
    (folder / "unlisted.json.new").rmdir()
    assert asked(index) == (HORSES, True)
    assert index.count(ACME) == len(HORSES) + 1
    index.list_and_delete(ACME, [coming.id], [])
    assert asked(index)[0] == HORSES | {"horse to come"}
    assert not (folder / "unlisted.json").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"acme/docs": 1}', ""])
def test_points_are_not_shown_where_it_can_not_be_read_which_are_coming(folder: Path, text: str):
    folder.mkdir(exist_ok=True)
    EdgeIndex(folder, IDENTITY).close()
    (folder / "unlisted.json").write_text(text)
    with pytest.raises(StorageError, match="does not say which points are not to be found yet.*Restore it"):
        EdgeIndex(folder, IDENTITY)


def test_points_that_a_reader_may_not_read_are_neither_listed_nor_deleted_by_it(index: EdgeIndex, asked: Asked):
    secret = point("horse of a few", groups=["hr"])
    index.upsert(ACME, [secret])
    index.list_and_delete(READER, [secret.id], [secret.id])
    assert dict(index.ids(ACME))[secret.id] is False
