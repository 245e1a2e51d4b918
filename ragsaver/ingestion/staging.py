"""What one process found out about a document, so that another can bring it in: plain JSON, packed.

Between the two the manifest may have moved on, so what was found is settled against what is in by then.
"""

import json
import os
import zlib
from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ragsaver.ingestion.chunker import Chunk
from ragsaver.ingestion.identity import Fingerprints, IdentifiedChunk
from ragsaver.ingestion.manifest import DocumentRecord
from ragsaver.ingestion.notes import Note, notes_of, to_values
from ragsaver.ingestion.planning import Change, Reason


class Action(StrEnum):
    """What is to be done: bring a version in, note another place or version of the same content, or forget it."""

    APPLY = "apply"
    TOUCH = "touch"
    FORGET = "forget"


@dataclass(frozen=True, slots=True)
class Staged:
    """A document that waits for the index's owner.

    :param record: as the manifest would have it; its chunks are those of `chunks`.
    :param base: generation that the manifest had when this was found out; 0 if the document was not in.
    :param payload_bytes: as `Change` has it.
    :param notes: as `Change` has them.
    :param absent: nothing was at the place of a document that is to be forgotten.
    """

    action: Action
    record: DocumentRecord
    chunks: tuple[IdentifiedChunk, ...]
    reason: Reason
    base: int
    payload_bytes: int = 0
    notes: tuple[Note, ...] = ()
    absent: bool = False

    @classmethod
    def of(cls, change: Change) -> "Staged":
        """A change, as `Gates` found it."""
        base = change.old.generation if change.old else 0
        return cls(
            Action.APPLY, change.record, tuple(change.chunks), change.reason, base, change.payload_bytes, change.notes
        )

    @classmethod
    def touching(cls, record: DocumentRecord) -> "Staged":
        """The same content under another version, or at another place."""
        return cls(Action.TOUCH, record, (), Reason.CARRIED, record.generation)

    @classmethod
    def forgetting(cls, record: DocumentRecord, *, absent: bool = False) -> "Staged":
        """A document whose source is gone."""
        return cls(Action.FORGET, record, (), Reason.CARRIED, record.generation, absent=absent)

    @property
    def is_back(self) -> bool:
        """Whether a file that was not there is at its place again."""
        return self.absent and self.record.location is not None and os.path.lexists(self.record.location)

    def texts(self, current: DocumentRecord | None) -> dict[str, str]:
        """What is embedded of the chunks that are not in yet, by fingerprint."""
        there: Container[str] = current.intact if current else ()
        return {one.prints.embedded: one.chunk.embed_text for one in self.chunks if one.id not in there}


class Settled(StrEnum):
    """Why nothing has to be done any more."""

    IS_IN = "is in"
    SUPERSEDED = "superseded by a version that was read later"
    IS_BACK = "was gone, and is there again"


def settle(staged: Staged, current: DocumentRecord | None) -> Change | DocumentRecord | Settled:
    """What there is to do, now that the manifest has `current`: a change, a record to note or to forget, or nothing."""
    found = staged.record
    if staged.action is not Action.APPLY:
        if current is None or current.generation != staged.base or _content(current) != _content(found):
            return Settled.SUPERSEDED
        if staged.is_back:
            return Settled.IS_BACK
        if staged.action is Action.FORGET:
            return current if _came_in(current) == _came_in(found) else Settled.SUPERSEDED
        return current._replace(
            location=found.location, version=found.version, size=found.size, ingested_at=found.ingested_at
        )
    if current is not None:
        if _content(current) == _content(found):
            return Settled.IS_IN
        if current.ingested_at > found.ingested_at:
            return Settled.SUPERSEDED
    generation = current.generation + 1 if current else 1
    record = found._replace(generation=generation, chunks=tuple(one.prints for one in staged.chunks))
    return Change(record, staged.chunks, current, staged.reason, staged.payload_bytes, staged.notes)


def pack(staged: Staged) -> bytes:
    """To bytes."""
    values = {
        "action": staged.action,
        "record": {**staged.record._asdict(), "chunks": []},
        "chunks": [
            {"prints": one.prints._asdict(), "chunk": one.chunk._asdict(), "payload": dict(one.payload)}
            for one in staged.chunks
        ],
        "reason": staged.reason,
        "base": staged.base,
        "payload_bytes": staged.payload_bytes,
        "notes": to_values(staged.notes),
        "absent": staged.absent,
    }
    return zlib.compress(json.dumps(values, ensure_ascii=False).encode(), level=1)


def unpack(data: bytes) -> Staged:
    """From what `pack` made."""
    values: dict[str, Any] = json.loads(zlib.decompress(data))
    return Staged(
        Action(values["action"]),
        DocumentRecord(**{**values["record"], "chunks": ()}),
        tuple(
            IdentifiedChunk(Fingerprints(**one["prints"]), Chunk(**one["chunk"]), one["payload"])
            for one in values["chunks"]
        ),
        Reason(values["reason"]),
        values["base"],
        values["payload_bytes"],
        notes_of(values.get("notes")),  # what an earlier version packed has none
        values.get("absent", False),
    )


def _came_in(record: DocumentRecord) -> tuple[float, str | None]:
    """One that was deleted and brought in again begins with the first generation, too."""
    return record.ingested_at, record.location


def _content(record: DocumentRecord) -> tuple[str, str, str]:
    return record.content_hash, record.metadata_hash, record.config
