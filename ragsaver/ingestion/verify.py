"""Do manifest and index agree? Say what does not, and mend it."""

from collections.abc import Container
from pathlib import Path

from ragsaver.index.protocol import Scope, VectorIndex
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.manifest import DocumentRecord, Manifest
from ragsaver.ingestion.report import VerifyReport

STALE = "stale"


def verify(manifest: Manifest, index: VectorIndex, ingestor: Ingestor, scope: Scope) -> VerifyReport:
    """Compare a scope's manifest with its points and repair the difference.

    Orphaned points are deleted, committed ones that are hidden are listed. Documents that miss points are
    ingested again where their file is still there; the others are marked, and the next ingestion redoes them.
    """
    ingestor.recover(scope)
    documents = manifest.documents(scope)
    points = dict(index.ids(scope))
    named = {chunk for record in documents.values() for chunk in record.chunks}
    orphaned = sorted(points.keys() - named)
    missing = named - points.keys()
    hidden = sorted(point for point in named & points.keys() if not points[point])
    index.list_and_delete(scope, hidden, orphaned)
    repaired = len(orphaned) + len(hidden)
    broken = [record for record in documents.values() if missing.intersection(record.chunks)]
    if broken:
        manifest.commit(scope, [_stale(record, points.keys()) for record in broken])
        files = [Path(record.path) for record in broken if record.path and Path(record.path).is_file()]
        for file in files:
            ingestor.ingest([file], scope, cwd=_cwd_of(file, broken))
        repaired += len(missing & dict(index.ids(scope)).keys())
    return VerifyReport(
        documents=len(documents),
        points=index.count(scope),
        missing=len(missing),
        orphaned=len(orphaned),
        repaired=repaired,
    )


def _stale(record: DocumentRecord, there: Container[str]) -> DocumentRecord:
    kept = tuple(chunk for chunk in record.chunks if chunk in there)
    return DocumentRecord(
        id=record.id,
        source=record.source,
        path=record.path,
        size=record.size,
        mtime_ns=0,
        content_hash="",
        config=STALE,
        generation=record.generation,
        ingested_at=record.ingested_at,
        chunks=kept,
    )


def _cwd_of(file: Path, records: list[DocumentRecord]) -> Path:
    """The working directory by which the file got its name."""
    source = next(record.source for record in records if record.path == str(file))
    if Path(source).is_absolute():
        return Path("/")
    return file.parents[len(Path(source).parts) - 1]
