import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import qdrant_edge as qdrant

from ragsaver.errors import IndexLocked, StorageError
from ragsaver.index import edge
from ragsaver.index.edge import EdgeIndex
from tests.index.points import ACME, IDENTITY, RIVAL, listed, point, vector

READER = replace(ACME, groups=frozenset({"it"}))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[EdgeIndex]:
    opened = EdgeIndex(tmp_path / "index", IDENTITY, optimize_after_points=5)
    yield opened
    opened.close()


def test_a_second_opening_of_the_same_shard_is_a_clear_error(index: EdgeIndex) -> None:
    with pytest.raises(IndexLocked, match="open in another process"):
        EdgeIndex(index.folder, IDENTITY)


def test_a_disk_that_runs_full_stops_writes_and_keeps_what_is_there(
    index: EdgeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = point("zebra")
    listed(index, ACME, kept)
    monkeypatch.setattr(edge, "RESERVE_BYTES", 2**62)

    with pytest.raises(StorageError, match="are free on the disk.*Free some space"):
        index.upsert(ACME, [point("one more")])

    assert len(index.search(ACME, "zebra", vector(0), 5).lexical) == 1
    index.list_and_delete(ACME, [], [kept.id])
    assert index.count(ACME) == 0


def test_what_a_killed_process_left_in_the_log_is_not_written_to_a_disk_without_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom tests.index.test_edge import ACME, IDENTITY, EdgeIndex, listed\n"
        "from tests.index.points import point\n"
        "listed(EdgeIndex(Path(sys.argv[1]), IDENTITY), ACME, point('zebra'))\nos.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root)
    assert killed.returncode == -signal.SIGKILL
    with monkeypatch.context() as patched:
        patched.setattr(edge, "RESERVE_BYTES", 2**62)
        with pytest.raises(StorageError, match="are free on the disk.*Free some space"):
            EdgeIndex(tmp_path, IDENTITY)
    with closing(EdgeIndex(tmp_path, IDENTITY)) as index:
        assert index.count(ACME) == 1
    monkeypatch.setattr(edge, "RESERVE_BYTES", 2**62)
    with closing(EdgeIndex(tmp_path, IDENTITY)) as index:  # nothing is left to be written
        assert index.count(ACME) == 1


def test_an_index_from_before_a_setting_was_recorded_has_its_default(tmp_path: Path) -> None:
    EdgeIndex(tmp_path, IDENTITY).close()
    recorded = json.loads((tmp_path / "identity.json").read_text())
    older = {name: value for name, value in recorded.items() if name not in {"bm25_k1", "bm25_b"}}
    (tmp_path / "identity.json").write_text(json.dumps(older))

    EdgeIndex(tmp_path, IDENTITY).close()


@pytest.mark.parametrize("said_by", ["listed_in", "state"])
def test_an_index_of_an_earlier_version_shows_what_was_listed_and_nothing_else(tmp_path: Path, said_by: str) -> None:
    shown, hidden, theirs = point("zebra"), point("a hidden zebra", 1), point("another zebra", 2)
    with closing(EdgeIndex(tmp_path, IDENTITY)) as index:
        for scope, one in ((ACME, shown), (ACME, hidden), (RIVAL, theirs)):
            listed(index, scope, one)
            with index._shard.use() as shard:  # as it was written then
                listed_then = {"listed_in": f"{scope.tenant}/{scope.collection}", "state": "listed"}
                unlisted_then = {"state": "unlisted"} if said_by == "state" else {}
                said = unlisted_then if one is hidden else {said_by: listed_then[said_by]}
                shard.update(qdrant.UpdateOperation.set_payload([one.id], said))
        with index._shard.use() as shard:
            shard.update(qdrant.UpdateOperation.create_field_index(said_by, qdrant.PayloadSchemaType.Keyword))
            shard.flush()
    for _ in range(2):
        with closing(EdgeIndex(tmp_path, IDENTITY)) as index:
            assert [hit.id for hit in index.search(ACME, "zebra", vector(0), 10).lexical] == [shown.id]
            assert [hit.id for hit in index.search(RIVAL, "zebra", vector(0), 10).lexical] == [theirs.id]
            assert dict(index.ids(ACME)) == {shown.id: True, hidden.id: False}
            carried = index.payloads(ACME, [shown.id, hidden.id])
            assert [{"state", "listed_in"} & one.keys() for one in carried.values()] == [{"listed_in"}, set()]
            with index._shard.use() as shard:
                assert set(shard.info().payload_schema) == {"scope", "groups"}
    with closing(EdgeIndex(tmp_path, IDENTITY)) as index:
        index.list_and_delete(ACME, [hidden.id], [shown.id])
        assert [hit.id for hit in index.search(ACME, "zebra", vector(0), 10).lexical] == [hidden.id]


def test_what_an_earlier_version_has_written_key_by_key_is_read_and_changed_like_any_other(index: EdgeIndex) -> None:
    one = point("zebra", groups=["it"])
    listed(index, ACME, one)
    carried = index.payloads(ACME, [one.id])[one.id]
    with index._shard.use() as shard:  # as it was written then
        shard.update(qdrant.UpdateOperation.overwrite_payload([one.id], dict(carried)))

    assert index.payloads(ACME, [one.id]) == {one.id: carried}
    assert index.search(READER, "zebra", vector(0), 1).lexical[0].payload == carried
    index.set_payload(ACME, {one.id: {"title": "Horses", "groups": ["hr"]}})
    assert index.payloads(ACME, [one.id]) == {one.id: {**carried, "title": "Horses", "groups": ["hr"]}}
    assert index.payloads(READER, [one.id]) == {}
    (stored,) = next(iter(index.stored(ACME)))
    assert stored.payload == index.payloads(ACME, [one.id])[one.id]


@pytest.mark.parametrize("value", [2**70, 1.5, None, [], {"a": [{"b": "\u2028\0"}]}, '\\"🦓'], ids=repr)
def test_a_point_carries_any_json(index: EdgeIndex, value: object) -> None:
    one = point("zebra")._replace(payload={"metadata": {"value": value}})
    listed(index, ACME, one)
    assert index.payloads(ACME, [one.id])[one.id]["metadata"] == {"value": value}


def test_what_is_not_changed_of_a_point_stays(index: EdgeIndex) -> None:
    one = point("zebra")._replace(payload={"title": "Zebras", "ordinal": 3, "metadata": {"a": 1}})
    listed(index, ACME, one)
    before = index.payloads(ACME, [one.id])[one.id]

    index.set_payload(ACME, {one.id: {"ordinal": 4}, point("never written", 9).id: {"ordinal": 1}})

    assert index.payloads(ACME, [one.id]) == {one.id: {**before, "ordinal": 4}}
    assert index.count(ACME) == 1


def scores(index: EdgeIndex) -> list[float]:
    return [hit.score for hit in index.search(READER, "zebra", vector(0), 10).lexical]


def by_upsert(index: EdgeIndex, other: EdgeIndex) -> None:
    listed(index, ACME, *[point(f"zebra {n}", groups=["hr"]) for n in range(9)])


def by_set_payload(index: EdgeIndex, other: EdgeIndex) -> None:
    secret = [point(f"zebra {n}") for n in range(9)]
    index.upsert(ACME, secret)
    index.set_payload(ACME, {one.id: {"groups": ["hr"]} for one in secret})


def by_restore(index: EdgeIndex, other: EdgeIndex) -> None:
    listed(other, RIVAL, *[point(f"zebra {n}", groups=["hr"]) for n in range(9)])
    for some in other.stored(RIVAL):
        index.restore(ACME, some)


@pytest.mark.parametrize("bring", [by_upsert, by_set_payload, by_restore])
def test_words_of_the_first_points_that_name_groups_do_not_count_for_others(
    tmp_path: Path, bring: Callable[[EdgeIndex, EdgeIndex], None]
) -> None:
    with closing(EdgeIndex(tmp_path / "other", IDENTITY)) as other:
        with closing(EdgeIndex(tmp_path / "index", IDENTITY)) as index:
            listed(index, ACME, point("zebra one"), point("horse two"), point("horse three"))
            before = scores(index)
            bring(index, other)
            assert scores(index) == before
        with closing(EdgeIndex(tmp_path / "index", IDENTITY)) as index:
            assert index.count(ACME) == 12
            assert scores(index) == before


def test_words_of_other_groups_that_come_in_the_midst_of_a_search_do_not_count(
    index: EdgeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(index, ACME, point("zebra one"), point("horse two"), point("horse three"))
    before, really, searches = scores(index), index._read, 0

    def read(call: Callable[[Any], Any]) -> Any:
        nonlocal searches
        if "_asked" in call.__qualname__:
            searches += 1
            if searches == 1:
                index.upsert(ACME, [point(f"zebra {n}", groups=["hr"]) for n in range(9)])
        return really(call)

    monkeypatch.setattr(index, "_read", read)
    assert scores(index) == before
    assert searches == 2
