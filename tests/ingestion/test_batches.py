"""How many chunks go together: a number that was named is kept to, and without one quick batches grow."""

from collections.abc import Iterator

import pytest

from ragsaver.index.scope import Scope
from ragsaver.ingestion import planning
from ragsaver.ingestion.chunker import Chunk
from ragsaver.ingestion.identity import Carried, identify
from ragsaver.ingestion.manifest import DocumentRecord
from ragsaver.ingestion.planning import Change, Reason, batches

SCOPE = Scope("acme", "docs")
CHUNKS = 10  # of each document


def changes(count: int) -> Iterator[Change | None]:
    for number in range(count):
        yield None
        cut = [Chunk(f"{number} {at}", "", at, None, f"{number} {at}") for at in range(CHUNKS)]
        chunks = identify(str(number), cut, Carried(f"{number}.md", "", {}), "model")
        record = DocumentRecord(str(number), f"{number}.md", None, 0, "", "", "", "", 1, 0.0, ())
        yield Change(record, chunks, None, Reason.NEW, 0)


class Clock:
    """Each batch takes as long as `seconds` says then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.seconds = seconds
        self._now = 0.0
        monkeypatch.setattr(planning.time, "perf_counter", lambda: self._now)

    def sizes(self, count: int, chunks: int) -> Iterator[int]:
        for batch in batches(changes(count), chunks):
            yield sum(len(change.chunks) for change in batch)
            self._now += self.seconds


def test_a_number_that_was_named_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(Clock(monkeypatch, 0.0).sizes(10, 25)) == [30, 30, 30, 10]


def test_quick_batches_grow_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(Clock(monkeypatch, 0.01).sizes(400, 0)) == [260, 520, 1030, 1030, 1030, 130]


def test_slow_batches_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(Clock(monkeypatch, 5.0).sizes(100, 0)) == [260, 260, 260, 220]


def test_batches_shrink_once_they_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.01)
    sizes = []
    for size in clock.sizes(300, 0):
        sizes.append(size)
        clock.seconds = 0.01 if len(sizes) < 3 else 5.0
    assert sizes == [260, 520, 1030, 520, 260, 260, 150]
