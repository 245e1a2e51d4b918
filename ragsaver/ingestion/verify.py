"""Do manifest and index agree? Say what does not, and mend it."""

from collections.abc import Container

from ragsaver.index.protocol import VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.manifest import DocumentRecord, Manifest
from ragsaver.ingestion.report import VerifyReport

STALE = "stale"


def verify(manifest: Manifest, index: VectorIndex, ingestor: Ingestor, scope: Scope) -> VerifyReport:
    """Compare a scope's manifest with its points and repair the difference.

    Orphaned points are deleted, committed ones that are hidden are listed. Documents that miss points are
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
    repaired = len(orphaned) + len(hidden)
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
        repaired=repaired,
    )


def _stale(record: DocumentRecord, there: Container[str]) -> DocumentRecord:
    """The document with what is left of it, so that its next ingestion brings the rest."""
    kept = tuple(prints for prints in record.chunks if prints.id in there)
    return record._replace(version="", content_hash="", config=STALE, chunks=kept)
