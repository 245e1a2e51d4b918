"""What would an ingestion do, take and cost, and why? Known before anything is spent."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal

from ragsaver.caching.embeddings import EmbeddingCache
from ragsaver.ingestion.asking import Tokens
from ragsaver.ingestion.gates import Gates, printable
from ragsaver.ingestion.losses import told_before, told_notes
from ragsaver.ingestion.manifest import DocumentRecord
from ragsaver.ingestion.notes import Note
from ragsaver.ingestion.planning import Change, Reason
from ragsaver.ingestion.report import (
    ExpiredDocument,
    PlannedChange,
    PlannedChunks,
    PlannedDocuments,
    PlannedEmbedding,
    PlannedSummaries,
    PlanReport,
)
from ragsaver.ingestion.retention import Expiry
from ragsaver.ingestion.summaries import Section
from ragsaver.ingestion.summarising import Summaries
from ragsaver.models.protocol import Encoder
from ragsaver.spend.money import usd_of_tokens

MILLION = Decimal(1_000_000)

# Of changes and texts of theirs, by what is embedded: those that need no embedding.
Kept = Callable[[Sequence[Change], Collection[str]], Collection[str]]


def nothing_kept(changes: Sequence[Change], lacking: Collection[str]) -> Collection[str]:
    """Nobody looks into the index."""
    return ()


def told_expiries(expired: Sequence[Expiry]) -> tuple[ExpiredDocument, ...]:
    """What retention takes out, as a report tells it."""
    return tuple(
        ExpiredDocument(source=printable(expiry.document.record.source), reason=expiry.reason) for expiry in expired
    )


class Estimate:
    """Adds up what changes would take.

    :param partition: the caches', of the tenant.
    :param summaries: of sections; None where none are wanted.
    :param kept: which texts that the cache lacks are in the index.
    """

    def __init__(
        self,
        cache: EmbeddingCache,
        encoder: Encoder,
        partition: str,
        summaries: Summaries | None = None,
        kept: Kept = nothing_kept,
    ) -> None:
        self._cache = cache
        self._encoder = encoder
        self._partition = partition
        self._wanted: set[str] = set()
        self._chunks: Counter[str] = Counter()
        self._reasons: Counter[Reason] = Counter()
        self._tokens = 0
        self._summaries = summaries
        self._kept = kept
        self._sections: dict[str, Tokens] = {}
        self._changes: list[PlannedChange] = []
        self._notes: list[tuple[str, Sequence[Note]]] = []

    def add(self, change: Change, sections: Sequence[Section] = ()) -> None:
        """Count one change; a text that stands in several documents is embedded, or summarised, once.

        :param sections: that a language model would be asked for.
        """
        if self._summaries:
            self._sections |= {
                one.hash: self._summaries.worst(one) for one in sections if one.hash not in self._sections
            }
        texts = {one.prints.embedded: one.chunk.embed_text for one in change.new}
        there = self._cache.holds(self._partition, list(texts)) | (texts.keys() & self._wanted)
        lacking = texts.keys() - there
        lacking -= set(self._kept([change], lacking))
        self._wanted |= lacking
        self._tokens += sum(self._encoder.count_tokens([texts[name] for name in sorted(lacking)]))
        planned = PlannedChange(
            source=printable(change.record.source),
            reason=change.reason.value,
            embed=len(lacking),
            cached=len(change.new) - len(lacking),
            move=len(change.moved),
            delete=len(change.dropped),
        )
        self._changes.append(planned)
        if change.notes:
            self._notes.append((change.record.source, change.notes))
        self._reasons[change.reason] += 1
        for key in ("embed", "cached", "move", "delete"):
            self._chunks[key] += getattr(planned, key)
        self._chunks["unchanged"] += len(change.chunks) - len(change.new) - len(change.moved)

    def report(
        self,
        gates: Gates,
        gone: Sequence[DocumentRecord],
        expired: Sequence[Expiry],
        noted: Mapping[str, Sequence[Note]],
        *,
        tokens_per_s: float | None,
        usd_per_mtok: Decimal,
    ) -> PlanReport:
        """All of it.

        :param gone: documents that the same run takes away.
        :param expired: what retention takes out after it.
        :param noted: what documents that are in have lost, by source.
        """
        seen = gates.seen
        self._chunks["unchanged"] += seen.unchanged_chunks
        self._chunks["delete"] += sum(len(record.chunks) for record in gone)
        self._chunks["delete"] += sum(len(expiry.document.record.chunks) for expiry in expired)
        return PlanReport(
            documents=PlannedDocuments(
                seen=seen.documents,
                new=self._reasons[Reason.NEW],
                edited=self._reasons[Reason.EDITED],
                stale=self._reasons[Reason.STALE],
                carried=self._reasons[Reason.CARRIED],
                access=self._reasons[Reason.ACCESS],
                unchanged=seen.unchanged,
                deleted=len(gone) + len(expired),
                failed=len(seen.errors),
                tombstoned=seen.tombstoned,
                vanished=len(seen.vanished),
            ),
            chunks=PlannedChunks(**self._chunks),
            embedding=PlannedEmbedding(
                tokens=self._tokens,
                seconds=round(self._tokens / tokens_per_s, 1) if tokens_per_s else None,
                cost_usd=usd_of_tokens(self._tokens, usd_per_mtok),
            ),
            summaries=self._planned_summaries(),
            changes=tuple(self._changes),
            errors=tuple(seen.errors),
            expired=told_expiries(expired),
            **told_notes(self._notes),
            noted_before=told_before(noted, seen.kept),
        )

    def _planned_summaries(self) -> PlannedSummaries:
        if self._summaries is None:
            return PlannedSummaries()
        worst = sum(self._sections.values(), Tokens())
        return PlannedSummaries(
            sections=len(self._sections),
            input_tokens=worst.input,
            output_tokens=worst.output,
            cost_usd=sum(map(self._summaries.worst_usd, self._sections.values()), Decimal(0)),
        )
