"""Each document of a corpus as it stands: what it takes, how old it is, and when it was last of use."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ragsaver.index.scope import Scope
from ragsaver.ingestion.manifest import DocumentRecord, Manifest
from ragsaver.ingestion.notes import Note

_FLOAT32 = 4


@dataclass(frozen=True, slots=True)
class Standing:
    """One document.

    :ivar vector_bytes: of its dense vectors.
    :ivar payload_bytes: of its points' texts and what else they carry.
    :ivar notes: of what it lost when it was read.
    :ivar last_used: seconds since 1970; None if no question ever found it.
    """

    record: DocumentRecord
    vector_bytes: int
    payload_bytes: int
    last_used: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()

    @property
    def bytes(self) -> int:
        """What keeping it takes."""
        return self.vector_bytes + self.payload_bytes

    @property
    def touched_at(self) -> float:
        """When it was last used or brought in, whichever is later."""
        return max(self.record.ingested_at, self.last_used or 0.0)


def standings(manifest: Manifest, scope: Scope, dim: int) -> list[Standing]:
    """Every document of a scope, by source.

    :param dim: width of a vector.
    """
    used, originals = manifest.uses.of(scope), manifest.originals.of(scope)
    found = []
    for record in sorted(manifest.documents(scope).values(), key=lambda one: one.source):
        original = originals.get((record.id, record.generation))
        found.append(
            Standing(
                record,
                vector_bytes=vector_bytes(len(record.chunks), dim),
                payload_bytes=original.payload_bytes if original else record.size,
                last_used=used.get(record.id),
                metadata=original.metadata if original else {},
                notes=original.notes if original else (),
            )
        )
    return found


def vector_bytes(chunks: int, dim: int) -> int:
    """Bytes of the dense vectors of so many chunks."""
    return chunks * dim * _FLOAT32
