"""List, delete, expire and report the documents of a collection: the life of a document after it came in."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from ragsaver.errors import DocumentNotFound, UsageError
from ragsaver.index.scope import Scope
from ragsaver.ingestion.gates import printable
from ragsaver.ingestion.holdings import HeldDocument, HoldingsReport, held, report_holdings
from ragsaver.ingestion.identity import readers
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.manifest import DocumentRecord, Manifest, now
from ragsaver.ingestion.selection import DocumentSelection
from ragsaver.ingestion.standing import standings, vector_bytes
from ragsaver.settings import Settings

_DAY_S = 86_400.0


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DocumentList(_Frozen):
    """Documents by source; `tombstoned` ones of the collection are not in: retention took them out.

    Who reads in the name of groups is not told of tombstones.
    """

    documents: tuple[HeldDocument, ...] = ()
    tombstoned: int = 0


class RemovedDocument(_Frozen):
    """A document that goes, and why."""

    id: str
    source: str
    chunks: int
    reason: str


class RemovalReport(_Frozen):
    """What went; with `dry_run` what would have gone."""

    documents: tuple[RemovedDocument, ...] = ()
    chunks: int = 0
    dry_run: bool = False


class Lifecycle:
    """What is done with documents that are in.

    :param dim: width of a vector.
    """

    def __init__(self, settings: Settings, manifest: Manifest, ingestor: Ingestor, dim: int) -> None:
        self._settings = settings
        self._manifest = manifest
        self._ingestor = ingestor
        self._dim = dim

    def list(self, selection: DocumentSelection, scope: Scope) -> DocumentList:
        """The documents that a selection means and the scope may read; all of these if it names no condition."""
        at = now()
        documents = [one for one in standings(self._manifest, scope, self._dim) if scope.reads(readers(one.metadata))]
        return DocumentList(
            documents=tuple(held(one) for one in documents if selection.takes(one, at)),
            # Whom they were for is not known any more: a reader is not told how many there are.
            tombstoned=self._manifest.tombstones.count(scope) if scope.groups is None else 0,
        )

    def delete(self, selection: DocumentSelection, scope: Scope, *, dry_run: bool = False) -> RemovalReport:
        """Remove the documents that a selection means; none is no error.

        :raises UsageError: if it names no condition.
        """
        if selection.takes_all:
            raise UsageError(
                "nothing says which documents",
                remedy="Name a source, a folder, an age or metadata; `--older-than 0d` takes all of the collection",
            )
        at = now()

        def choose(known: Mapping[str, DocumentRecord]) -> Sequence[DocumentRecord]:
            documents = standings(self._manifest, scope, self._dim)
            return [one.record for one in documents if one.record.source in known and selection.takes(one, at)]

        gone = choose(self._manifest.documents(scope)) if dry_run else self._ingestor.forget(scope, choose)
        return _removal([(record, "selected") for record in gone], dry_run)

    def delete_one(self, document_id: str, scope: Scope) -> RemovalReport:
        """Remove exactly that document.

        :raises DocumentNotFound: if the collection has none of that id.
        """
        gone = self._ingestor.forget(scope, lambda known: [one for one in known.values() if one.id == document_id])
        if not gone:
            raise DocumentNotFound(
                f"collection `{scope.collection}` has no document of that id",
                where=ascii(document_id),
                remedy="`ragsaver documents list` and GET /v1/documents show the ids",
            )
        return _removal([(record, "selected") for record in gone], dry_run=False)

    def expire(self, scope: Scope, *, dry_run: bool = False) -> RemovalReport:
        """Remove what the collection's retention does not keep."""
        going = self._ingestor.expire(scope, dry_run=dry_run)
        return _removal([(expiry.document.record, expiry.reason) for expiry in going], dry_run)

    def report(self, scope: Scope, cold_after_s: float | None = None) -> HoldingsReport:
        """What the collection holds.

        :param cold_after_s: `lifecycle.cold_after_days` if None.
        """
        settings = self._settings
        return report_holdings(
            standings(self._manifest, scope, self._dim),
            now(),
            cold_after_s=settings.lifecycle.cold_after_days * _DAY_S if cold_after_s is None else cold_after_s,
            usd_per_gb_month=settings.spend.storage_per_gb_month,
            vector_bytes=vector_bytes(1, self._dim),
            tombstoned=self._manifest.tombstones.count(scope),
        )


def _removal(gone: Sequence[tuple[DocumentRecord, str]], dry_run: bool) -> RemovalReport:
    return RemovalReport(
        documents=tuple(
            RemovedDocument(id=record.id, source=printable(record.source), chunks=len(record.chunks), reason=reason)
            for record, reason in gone
        ),
        chunks=sum(len(record.chunks) for record, _ in gone),
        dry_run=dry_run,
    )
