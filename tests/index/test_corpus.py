"""Word statistics are the engine's own where they are the scope's, and counted anew where they are not."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ragsaver.index import edge
from ragsaver.index.edge import EdgeIndex
from tests.index.points import ACME, IDENTITY, RIVAL, listed, point, vector


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def index(folder: Path) -> Iterator[EdgeIndex]:
    with closing(EdgeIndex(folder, IDENTITY)) as opened:
        listed(opened, ACME, point("zebra one"), *[point(f"horse {n}") for n in range(199)])
        yield opened


Asked = Callable[[EdgeIndex], tuple[list[float], bool]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The scores of a question, and whether its words were counted anew for it."""
    corpora: list[Any] = []
    params = edge.qdrant.IdfParams

    def counted(**given: Any) -> Any:
        corpora.append(given["corpus"])
        return params(**given)

    monkeypatch.setattr(edge.qdrant, "IdfParams", counted)

    def ask(index: EdgeIndex) -> tuple[list[float], bool]:
        corpora.clear()
        scores = [hit.score for hit in index.search(ACME, "zebra", vector(0), 5).lexical]
        return scores, bool(corpora)

    return ask


def test_nobody_counts_for_the_only_scope_and_another_s_first_point_moves_no_score(index: EdgeIndex, asked: Asked):
    alone, anew = asked(index)
    assert len(alone) == 1
    assert not anew

    listed(index, RIVAL, *[point(f"zebra {n}") for n in range(9)])

    assert asked(index) == (alone, True)


def test_a_scope_that_is_gone_counts_as_one_that_is_there_until_the_index_is_optimised(
    index: EdgeIndex, folder: Path, asked: Asked
):
    alone, _ = asked(index)
    gone = [point(f"zebra {n}") for n in range(9)]
    listed(index, RIVAL, *gone)
    index.list_and_delete(RIVAL, [], [one.id for one in gone])
    index.close()

    with closing(EdgeIndex(folder, IDENTITY)) as again:
        assert again.scopes() == [ACME]
        assert asked(again) == (alone, True)
        assert again.optimise(force=True)
        assert asked(again) == (alone, False)


def test_one_in_a_hundred_may_be_deleted_or_changed(index: EdgeIndex, folder: Path, asked: Asked):
    index.optimise(force=True)
    there = [point_id for point_id, _ in index.ids(ACME)]
    index.list_and_delete(ACME, [], there[:1])
    index.close()

    with closing(EdgeIndex(folder, IDENTITY)) as again:
        again.set_payload(ACME, {there[1]: {"title": "changed"}})
        assert not asked(again)[1]
        again.set_payload(ACME, {there[2]: {"title": "changed"}})
        assert asked(again)[1]


def test_where_points_name_groups_words_are_counted_for_each_reader(index: EdgeIndex, folder: Path, asked: Asked):
    alone, _ = asked(index)
    of_hr = [point(f"zebra {n}", groups=["hr"]) for n in range(3)]
    listed(index, ACME, *of_hr)
    index.list_and_delete(ACME, [], [one.id for one in of_hr])
    index.close()

    with closing(EdgeIndex(folder, IDENTITY)) as again:  # where no point names groups any more
        assert asked(again) == (alone, True)


def test_an_index_of_which_nobody_knows_who_wrote_to_it_counts_until_it_is_optimised(
    index: EdgeIndex, folder: Path, asked: Asked
):
    index.optimise(force=True)
    index.close()
    pointer = folder / "shard.json"
    said = json.loads(pointer.read_text())
    del said["sole"], said["left_behind"]
    pointer.write_text(json.dumps(said))

    with closing(EdgeIndex(folder, IDENTITY)) as again:
        assert asked(again)[1]
        listed(again, ACME, point("horse"))
        assert asked(again)[1]
        again.optimise(force=True)
        assert not asked(again)[1]


def test_what_changes_while_the_index_is_optimised_is_left_behind_too(
    index: EdgeIndex, asked: Asked, monkeypatch: pytest.MonkeyPatch
):
    there = [point_id for point_id, _ in index.ids(ACME)]
    optimised = edge.optimised

    def meanwhile(*given: Any) -> bool:
        index.set_payload(ACME, {one: {"title": "changed"} for one in there[:9]})
        return optimised(*given)

    monkeypatch.setattr(edge, "optimised", meanwhile)
    assert index.optimise(force=True)
    assert asked(index)[1]
