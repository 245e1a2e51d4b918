"""What would retention take out once an ingestion is through? Told by its plan."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ragsaver.index.scope import Scope
from ragsaver.ingestion.manifest import DocumentRecord, Manifest, now
from ragsaver.ingestion.planning import Change
from ragsaver.ingestion.retention import Expiry, expiries
from ragsaver.ingestion.standing import Standing, standings, vector_bytes
from ragsaver.settings import RetentionSettings


class Foreseen:
    """A collection as an ingestion would leave it, before retention.

    :param rule: None where the collection has none, and everything stays.
    :param dim: width of a vector.
    """

    def __init__(self, manifest: Manifest, scope: Scope, rule: RetentionSettings | None, dim: int) -> None:
        self._rule = rule
        self._dim = dim
        there = standings(manifest, scope, dim) if rule else ()
        self._standing = {one.record.source: one for one in there}

    def add(self, change: Change) -> None:
        """A document that comes in."""
        if self._rule:
            record, before = change.record, self._standing.get(change.record.source)
            size = vector_bytes(len(record.chunks), self._dim)
            last_used = before.last_used if before else None
            self._standing[record.source] = Standing(record, size, change.payload_bytes, last_used)

    def expiries(self, touched: Iterable[DocumentRecord], gone: Sequence[DocumentRecord]) -> list[Expiry]:
        """What retention would take out.

        :param touched: documents that stay and are noted anew.
        :param gone: documents that the same run takes away.
        """
        if self._rule is None:
            return []
        for record in touched:
            self._standing[record.source] = replace(self._standing[record.source], record=record)
        left = {record.source for record in gone}
        return expiries([one for source, one in self._standing.items() if source not in left], self._rule, now())
