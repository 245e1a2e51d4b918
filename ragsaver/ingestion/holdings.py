"""What does a corpus hold, what of it is of no use, and what does keeping it cost?"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict

from ragsaver.ingestion.gates import printable
from ragsaver.ingestion.losses import told_notes
from ragsaver.ingestion.notes import NoteCode
from ragsaver.ingestion.report import IngestNote
from ragsaver.ingestion.standing import Standing
from ragsaver.spend.receipt import Usd
from ragsaver.timestamps import iso

MB = 2**20
_GB = Decimal(2**30)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HeldDocument(_Frozen):
    """One document; times are ISO 8601 in UTC, `last_used` is null if no question ever found it."""

    id: str
    source: str
    location: str | None
    chunks: int
    bytes: int
    ingested_at: str
    last_used: str | None
    metadata: dict[str, Any] = {}
    notes: tuple[IngestNote, ...] = ()


class Held(_Frozen):
    """Some of the documents together: what keeping them takes, and what that costs in a month."""

    documents: int = 0
    chunks: int = 0
    mb: float = 0.0
    vector_bytes: int = 0
    payload_bytes: int = 0
    cost_usd_per_month: Usd = Decimal(0)


class ColdDocuments(Held):
    """Documents that no question found, longest unused first."""

    items: tuple[HeldDocument, ...] = ()


class NotedDocuments(Held):
    """Documents that lost something on their way in; `noted` counts them by what that was."""

    noted: dict[NoteCode, int] = {}


class SameContent(_Frozen):
    """One content under several names; `bytes` is what all but one of them take."""

    content_hash: str
    sources: tuple[str, ...]
    bytes: int


class SameChunks(_Frozen):
    """Texts that stand in several documents: how many texts, the points beyond one each, and what those take."""

    texts: int = 0
    surplus_points: int = 0
    vector_bytes: int = 0
    cost_usd_per_month: Usd = Decimal(0)
    sources: tuple[str, ...] = ()


class HoldingsReport(_Frozen):
    """A collection. `never_used` ones were found by no question yet, `cold` ones for `cold_after_days` and more.

    `in_part` are documents of which something is not in the index.
    `tombstoned` ones are not in: retention took them out, and they stay out.
    """

    total: Held = Held()
    in_part: NotedDocuments = NotedDocuments()
    cold_after_days: float = 0.0
    never_used: Held = Held()
    cold: ColdDocuments = ColdDocuments()
    same_content: tuple[SameContent, ...] = ()
    same_chunks: SameChunks = SameChunks()
    tombstoned: int = 0


def report_holdings(
    documents: Sequence[Standing],
    now: float,
    *,
    cold_after_s: float,
    usd_per_gb_month: Decimal,
    vector_bytes: int,
    tombstoned: int = 0,
) -> HoldingsReport:
    """Add a collection up.

    :param now: seconds since 1970.
    :param vector_bytes: of one chunk's vector.
    :param tombstoned: documents that retention took out and that stay out.
    """
    cold = sorted(
        (document for document in documents if now - document.touched_at >= cold_after_s),
        key=lambda document: (document.touched_at, document.record.source),
    )
    in_part = [one for one in documents if one.notes]
    noted = told_notes((one.record.source, one.notes) for one in in_part)["noted"]
    return HoldingsReport(
        total=Held(**_sums(documents, usd_per_gb_month)),
        in_part=NotedDocuments(**_sums(in_part, usd_per_gb_month), noted=noted),
        cold_after_days=cold_after_s / 86_400,
        never_used=Held(**_sums([one for one in documents if one.last_used is None], usd_per_gb_month)),
        cold=ColdDocuments(**_sums(cold, usd_per_gb_month), items=tuple(held(document) for document in cold)),
        same_content=_same_content(documents),
        same_chunks=_same_chunks(documents, usd_per_gb_month, vector_bytes),
        tombstoned=tombstoned,
    )


def held(document: Standing) -> HeldDocument:
    """One document as people and programs read it."""
    record = document.record
    return HeldDocument(
        id=record.id,
        source=printable(record.source),
        location=record.location and printable(record.location),
        chunks=len(record.chunks),
        bytes=document.bytes,
        ingested_at=iso(record.ingested_at),
        last_used=None if document.last_used is None else iso(document.last_used),
        metadata=dict(document.metadata),
        notes=told_notes(((record.source, document.notes),))["notes"],
    )


def _sums(documents: Sequence[Standing], usd_per_gb_month: Decimal) -> dict[str, Any]:
    vectors = sum(document.vector_bytes for document in documents)
    payload = sum(document.payload_bytes for document in documents)
    return {
        "documents": len(documents),
        "chunks": sum(len(document.record.chunks) for document in documents),
        "mb": round((vectors + payload) / MB, 3),
        "vector_bytes": vectors,
        "payload_bytes": payload,
        "cost_usd_per_month": (vectors + payload) / _GB * usd_per_gb_month,
    }


def _same_content(documents: Iterable[Standing]) -> tuple[SameContent, ...]:
    by_content: defaultdict[str, list[Standing]] = defaultdict(list)
    for document in documents:
        if document.record.content_hash:
            by_content[document.record.content_hash].append(document)
    return tuple(
        SameContent(
            content_hash=content,
            sources=tuple(printable(one.record.source) for one in same),
            bytes=sum(one.bytes for one in same[1:]),
        )
        for content, same in sorted(by_content.items())
        if len(same) > 1
    )


def _same_chunks(documents: Iterable[Standing], usd_per_gb_month: Decimal, vector_bytes: int) -> SameChunks:
    standing_in: defaultdict[str, set[str]] = defaultdict(set)
    for document in documents:
        for prints in document.record.chunks:
            if prints.embedded:
                standing_in[prints.embedded].add(document.record.source)
    shared = [sources for sources in standing_in.values() if len(sources) > 1]
    surplus = sum(len(sources) - 1 for sources in shared)
    return SameChunks(
        texts=len(shared),
        surplus_points=surplus,
        vector_bytes=surplus * vector_bytes,
        cost_usd_per_month=surplus * vector_bytes / _GB * usd_per_gb_month,
        sources=tuple(sorted(printable(source) for source in set().union(*shared))),
    )
