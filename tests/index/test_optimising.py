"""An optimised copy takes the index's place: nothing is lost, nobody waits, and a stop leaves the index as it was."""

import resource
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragsaver.errors import StorageError
from ragsaver.index import edge
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.protocol import ChunkPoint
from ragsaver.index.scope import Scope
from ragsaver.index.upkeep import upkeep

DIM = 8
IDENTITY = IndexIdentity("tiny", "f" * 32, DIM, "english", 50.0)
ACME = Scope("acme", "docs")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[EdgeIndex]:
    opened = EdgeIndex(tmp_path / "index", IDENTITY, optimize_after_points=5)
    yield opened
    opened.close()


def vector(seed: int) -> Any:
    drawn = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    return drawn / np.linalg.norm(drawn)


def listed(index: EdgeIndex, *seeds: int) -> list[str]:
    points = [
        ChunkPoint(str(uuid.uuid5(uuid.NAMESPACE_URL, str(n))), "d", vector(n), f"word{n}", {"text": f"word{n}"})
        for n in seeds
    ]
    index.upsert(ACME, points)
    index.list_and_delete(ACME, [one.id for one in points], [])
    return [one.id for one in points]


def contents(index: EdgeIndex) -> dict[str, Any]:
    ids = dict(index.ids(ACME))
    vectors, payloads = index.vectors(ACME, list(ids)), index.payloads(ACME, list(ids))
    return {one: (state, vectors[one].tolist(), payloads[one]) for one, state in ids.items()}


def during(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """Do something while the copy is being optimised."""
    really = edge.optimised

    def acting(shard: Path, stopping: threading.Event) -> bool:
        act()
        return really(shard, stopping)

    monkeypatch.setattr(edge, "optimised", acting)


def test_nothing_is_done_before_enough_was_written(index: EdgeIndex) -> None:
    listed(index, 1)
    assert index.optimise() is False
    listed(index, *range(2, 8))
    assert index.optimise() is True
    assert index.optimise() is False


def test_how_much_was_written_outlives_the_process(tmp_path: Path) -> None:
    first = EdgeIndex(tmp_path, IDENTITY, optimize_after_points=5)
    listed(first, *range(10))
    first.close()
    second = EdgeIndex(tmp_path, IDENTITY, optimize_after_points=5)
    assert second.optimise() is True
    second.close()
    third = EdgeIndex(tmp_path, IDENTITY, optimize_after_points=5)
    assert third.optimise() is False
    third.close()


def test_the_optimised_index_holds_the_same_points_and_finds_them(index: EdgeIndex) -> None:
    listed(index, *range(30))
    before = contents(index)
    assert index.optimise() is True
    assert contents(index) == before
    assert index.search(ACME, "word7", vector(7), 1).lexical[0].payload["text"] == "word7"


def test_what_is_written_meanwhile_is_in_the_optimised_index(index: EdgeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, dropped, renamed = listed(index, 1, 2, 3)
    listed(index, *range(10, 20))

    def write() -> None:
        index.list_and_delete(ACME, [], [dropped])
        index.set_payload(ACME, {renamed: {"heading": "New"}})
        listed(index, 30)
        index.upsert(ACME, [ChunkPoint(kept, "d", vector(99), "other", {"text": "other"})])

    during(monkeypatch, write)
    assert index.optimise() is True
    now = contents(index)
    assert len(now) == 13
    assert dropped not in now
    assert now[renamed][2]["heading"] == "New"
    assert now[kept][0] is False
    np.testing.assert_allclose(now[kept][1], vector(99), atol=1e-6)
    assert index.search(ACME, "word30", vector(30), 1).lexical[0].payload["text"] == "word30"


def test_questions_are_answered_meanwhile(index: EdgeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(index, *range(10))
    found: list[int] = []
    during(monkeypatch, lambda: found.append(len(index.search(ACME, "word3", vector(3), 5).dense)))
    assert index.optimise() is True
    assert found == [5]


def test_one_that_is_stopped_leaves_the_index_as_it_was(
    index: EdgeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(index, *range(10))
    before = contents(index)
    during(monkeypatch, index.stop_optimising)
    assert index.optimise() is False
    assert contents(index) == before
    assert shards(tmp_path / "index") == ["shard"]


def test_one_that_fails_is_told_and_not_tried_again_at_once(
    index: EdgeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(index, *range(10))
    before = contents(index)

    def damage() -> None:
        (tmp_path / "index/shard-1/edge_config.json").write_text("no")

    during(monkeypatch, damage)
    with pytest.raises(StorageError, match=r"shard-1.*can't be optimised"):
        index.optimise()
    assert contents(index) == before
    assert index.optimise() is False


def shards(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.is_dir()]


def test_a_disk_that_refuses_the_pointer_leaves_the_index_as_it_was(
    index: EdgeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(index, *range(10))
    before = contents(index)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StorageError, match="can't be"):
        index.optimise()
    monkeypatch.undo()
    assert contents(index) == before
    assert shards(tmp_path / "index") == ["shard"]


def test_a_disk_that_refuses_the_copy_leaves_the_index_as_it_was(index: EdgeIndex, tmp_path: Path) -> None:
    listed(index, *range(10))
    before = contents(index)
    index.flush()
    free = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, free[1]))  # larger files are refused, with an error
    try:
        with pytest.raises(StorageError, match=r"/shard: can't be copied to be optimised: .*File too large.*lack disk"):
            index.optimise()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, free)
    assert contents(index) == before
    assert shards(tmp_path / "index") == ["shard"]
    assert index.optimise() is False
    assert index.optimise(force=True) is True


def test_one_that_is_stopped_before_it_is_copied_leaves_the_index_as_it_was(
    index: EdgeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(index, *range(10))
    before = contents(index)
    monkeypatch.setattr(index, "flush", lambda: index.stop_optimising() or EdgeIndex.flush(index))
    assert index.optimise() is False
    assert contents(index) == before
    assert shards(tmp_path / "index") == ["shard"]


def test_writers_wait_for_the_copy_and_nothing_of_theirs_is_lost(
    index: EdgeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(index, *range(10))
    writer = threading.Thread(target=listed, args=(index, 20, 21))
    really = edge.copier

    @contextmanager
    def meanwhile(held: Path, to: Path) -> Iterator[Any]:
        with really(held, to) as copied:

            def copying(stopping: threading.Event) -> bool:
                writer.start()
                done = copied(stopping)
                assert writer.is_alive()
                return done

            yield copying

    monkeypatch.setattr(edge, "copier", meanwhile)
    assert index.optimise() is True
    writer.join()
    assert len(contents(index)) == 12
    assert index.search(ACME, "word21", vector(21), 1).lexical[0].payload["text"] == "word21"


def test_threads_that_search_without_a_pause_do_not_keep_it_from_its_end(index: EdgeIndex) -> None:
    listed(index, *range(50))
    done = threading.Event()

    def search() -> None:
        while not done.is_set():
            index.search(ACME, "word3", vector(3), 5)

    searching = [threading.Thread(target=search) for _ in range(2)]
    for one in searching:
        one.start()
    try:
        assert index.optimise() is True
    finally:
        done.set()
        for one in searching:
            one.join()


@pytest.mark.parametrize("pointer", ["not JSON", '{"name": "shard-9", "optimised_points": 3}'])
def test_no_shard_is_thrown_away_where_the_one_in_use_is_not_known(tmp_path: Path, pointer: str) -> None:
    first = EdgeIndex(tmp_path, IDENTITY, optimize_after_points=5)
    listed(first, *range(10))
    assert first.optimise() is True
    first.close()
    (tmp_path / "shard.json").write_text(pointer)
    with pytest.raises(StorageError, match=r"shard\.json"):
        EdgeIndex(tmp_path, IDENTITY)
    assert (tmp_path / "shard-1").is_dir()


@pytest.mark.parametrize("name", ["shard-1", "shard-7"])
def test_a_copy_that_nobody_finished_is_thrown_away(tmp_path: Path, name: str) -> None:
    first = EdgeIndex(tmp_path, IDENTITY)
    ids = listed(first, 1, 2)
    first.close()
    (tmp_path / name).mkdir()
    (tmp_path / name / "half").write_text("a copy")
    second = EdgeIndex(tmp_path, IDENTITY)
    assert sorted(one for one, _ in second.ids(ACME)) == sorted(ids)
    assert not (tmp_path / name).exists()
    second.close()


def test_a_disk_without_room_for_a_copy_leaves_the_index_as_it_is(
    index: EdgeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(index, *range(10))
    monkeypatch.setattr(edge, "RESERVE_BYTES", 2**60)
    with pytest.raises(StorageError, match="MiB are needed"):
        index.optimise()
    assert index.count(ACME) == 10


def test_a_server_optimises_by_itself_and_stops_when_told(index: EdgeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    during(monkeypatch, done.set)
    with upkeep(lambda: index, every_s=0.01):
        listed(index, *range(10))
        assert done.wait(60)
    assert index.count(ACME) == 10


def test_an_optimised_index_finds_nearly_all_of_the_nearest_even_where_vectors_have_no_structure(
    tmp_path: Path,
) -> None:
    dim, size = 1024, 3000  # the engine makes no graph of under 10,000 kB of vectors
    drawn = np.random.default_rng(0).standard_normal((size + 50, dim)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    vectors, questions = drawn[:size], drawn[size:]
    ids = [str(uuid.UUID(int=place)) for place in range(size)]
    index = EdgeIndex(tmp_path / "index", IndexIdentity("wide", "f" * 32, dim, "english", 50.0))
    index.upsert(ACME, [ChunkPoint(one, "d", row, "word", {}) for one, row in zip(ids, vectors, strict=True)])
    index.list_and_delete(ACME, ids, [])
    assert index.optimise(force=True)
    found = [{hit.id for hit in index.search(ACME, "", asked, 10).dense} for asked in questions]
    index.close()
    exact = [{ids[place] for place in np.argsort(-vectors @ asked)[:10]} for asked in questions]
    recall = np.mean([len(one & truth) for one, truth in zip(found, exact, strict=True)]) / 10
    assert recall > 0.93  # the engine's own width of the search gives 0.84
