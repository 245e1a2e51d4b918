"""What has to change for a document? Decided from what the manifest says and what the document says now."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ragsaver.index.keys import METADATA, NOTHING
from ragsaver.ingestion.identity import IdentifiedChunk
from ragsaver.ingestion.manifest import DocumentRecord, Intent
from ragsaver.ingestion.notes import Note
from ragsaver.ingestion.originals import Original, compressed
from ragsaver.ingestion.sources import SourceItem

# Chunks of a batch at least and at most, where the settings name no number.
_FEW, _MANY = 256, 1024
_QUICK_S = 0.5


class Reason(StrEnum):
    """Why a document is brought in again."""

    NEW = "new"
    EDITED = "edited"
    STALE = "stale by configuration"
    CARRIED = "metadata changed"
    ACCESS = "access changed"


@dataclass(frozen=True, slots=True)
class Change:
    """A new version of a document beside its old one.

    :param record: as the manifest will have it.
    :param chunks: of the new version, in order.
    :param old: what the manifest has; None for a new document.
    :param payload_bytes: what the new version's points carry beside the vectors.
    :param notes: of what the new version lost when it was read.
    """

    record: DocumentRecord
    chunks: Sequence[IdentifiedChunk]
    old: DocumentRecord | None
    reason: Reason
    payload_bytes: int
    notes: tuple[Note, ...] = ()

    @property
    def new(self) -> list[IdentifiedChunk]:
        """Chunks that the old version does not have, or not as they were."""
        if self.old is None:
            return list(self.chunks)
        there = self.old.intact
        return [one for one in self.chunks if one.id not in there]

    @property
    def moved(self) -> list[IdentifiedChunk]:
        """Chunks that stay and carry something else, or stand elsewhere."""
        if self.old is None:
            return []
        before = {prints.id: prints for prints in self.old.chunks if prints.embedded}
        return [one for one in self.chunks if one.id in before and one.prints != before[one.id]]

    @property
    def dropped(self) -> tuple[str, ...]:
        """Ids of the old version's points that the new one does not have."""
        if self.old is None:
            return ()
        stay = {one.id for one in self.chunks}
        return tuple(point for point in self.old.points if point not in stay)

    def intent(self) -> Intent:
        """What is about to happen to the index, as it is written down first."""
        return Intent(
            document_id=self.record.id,
            generation=self.record.generation,
            listed=tuple(one.id for one in self.new),
            deleted=self.dropped,
            payloads={one.id: {**NOTHING, **one.payload} for one in self.moved},
        )


def original_of(change: Change, posted: SourceItem | None) -> Original:
    """What has to outlive the ingestion of a new version.

    :param posted: the document, if it was given as text.
    """
    return Original(
        change.record.id,
        change.record.generation,
        change.payload_bytes,
        change.chunks[0].payload.get(METADATA, {}),
        posted.format if posted else None,
        compressed(posted) if posted else None,
        change.notes,
    )


def forgetting(record: DocumentRecord) -> Intent:
    """The intent to forget a document."""
    return Intent(document_id=record.id, generation=0, listed=(), deleted=record.points, payloads={})


def batches(changes: Iterator[Change | None], chunks: int) -> Iterator[list[Change]]:
    """Changes together until they bring that many new chunks; None is passed over.

    :param chunks: 0 begins with few and takes more while the caller is quickly done with them: each batch has
        transactions of its own, and a slow model's batch is what a stop costs.
    """
    size = chunks or _FEW
    batch: list[Change] = []
    waiting = 0
    for change in changes:
        if change is None:
            continue
        batch.append(change)
        waiting += len(change.new)
        if waiting >= size:
            given = time.perf_counter()
            yield batch
            batch, waiting = [], 0
            if not chunks:
                size = _next_size(size, time.perf_counter() - given)
    if batch:
        yield batch


def _next_size(size: int, took_s: float) -> int:
    """Twice as many chunks after a batch that was quickly done, half as many after a slow one."""
    if took_s < _QUICK_S:
        return min(2 * size, _MANY)
    return max(size // 2, _FEW) if took_s > 4 * _QUICK_S else size
