"""Do manifest and index agree? Say what does not, and mend it."""

from collections.abc import Container, Iterable, Mapping

from ragsaver.errors import UnreadableDocument
from ragsaver.index.keys import GROUPS
from ragsaver.index.protocol import VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.ingestion.identity import groups_of
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.manifest import DocumentRecord, Manifest
from ragsaver.ingestion.report import VerifyReport

STALE = "stale"

# Whose payloads are looked at together.
_AT_A_TIME = 1000


def verify(manifest: Manifest, index: VectorIndex, ingestor: Ingestor, scope: Scope) -> VerifyReport:
    """Compare a scope's manifest with its points and repair the difference.

    Orphaned points are deleted, committed ones that are hidden are listed. Points that carry other readers than their
    document names, as those do that were written before there were groups, get these. Documents that miss points are
    ingested again where their source is still there; the others are marked, and the next ingestion redoes them.
    """
    with ingestor.writing(scope):
        return _verified(manifest, index, ingestor, scope)


def _verified(manifest: Manifest, index: VectorIndex, ingestor: Ingestor, scope: Scope) -> VerifyReport:
    ingestor.recover(scope)
    documents = manifest.documents(scope)
    points = dict(index.ids(scope))
    named = {point for record in documents.values() for point in record.points}
    orphaned = sorted(points.keys() - named)
    missing = named - points.keys()
    hidden = sorted(point for point in named & points.keys() if not points[point])
    index.list_and_delete(scope, hidden, orphaned)
    readers = _others_may_read(manifest, index, scope, documents.values())
    index.set_payload(scope, {point: {GROUPS: groups} for point, groups in readers.items()})
    repaired = len(orphaned) + len(hidden) + len(readers)
    broken = [record for record in documents.values() if missing.intersection(record.points)]
    if broken:
        manifest.commit(scope, [_stale(record, points.keys()) for record in broken])
        ingestor.ingest_again(broken, scope)
        repaired += len(missing & dict(index.ids(scope)).keys())
    return VerifyReport(
        documents=len(documents),
        points=index.count(scope),
        missing=len(missing),
        orphaned=len(orphaned),
        readers=len(readers),
        repaired=repaired,
    )


def _others_may_read(
    manifest: Manifest, index: VectorIndex, scope: Scope, documents: Iterable[DocumentRecord]
) -> Mapping[str, list[str]]:
    """Points that don't carry the groups that their document names, with these; none is everybody."""
    originals = manifest.originals.of(scope)
    named: dict[str, list[str]] = {}
    for record in documents:
        original = originals.get((record.id, record.generation))
        try:
            groups = groups_of(original.metadata, record.source) if original else []
        except UnreadableDocument:  # its next ingestion tells
            continue
        named.update(dict.fromkeys(record.points, groups))
    ids = list(named)
    wrong: dict[str, list[str]] = {}
    for start in range(0, len(ids), _AT_A_TIME):
        for point, payload in index.payloads(scope, ids[start : start + _AT_A_TIME]).items():
            if (payload.get(GROUPS) or []) != named[point]:
                wrong[point] = named[point]
    return wrong


def _stale(record: DocumentRecord, there: Container[str]) -> DocumentRecord:
    """The document with what is left of it, so that its next ingestion brings the rest."""
    kept = tuple(prints for prints in record.chunks if prints.id in there)
    return record._replace(version="", content_hash="", config=STALE, chunks=kept)
