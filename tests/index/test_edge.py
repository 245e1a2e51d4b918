from collections.abc import Iterator
from pathlib import Path

import pytest

from ragsaver.errors import IndexLocked, StorageError
from ragsaver.index import edge
from ragsaver.index.edge import EdgeIndex
from tests.index.points import ACME, IDENTITY, listed, point, vector


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
