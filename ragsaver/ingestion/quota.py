"""May a tenant's corpus grow by this document? The old version counts as gone, and what shrinks always goes in."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ragsaver.errors import QuotaExceeded
from ragsaver.index.scope import Scope
from ragsaver.ingestion.gates import Seen
from ragsaver.ingestion.manifest import DocumentRecord, Manifest, Usage
from ragsaver.ingestion.planning import Change
from ragsaver.settings import QuotaSettings

_MB = 2**20
_UNITS = {"max_documents": "documents", "max_chunks": "chunks", "max_mb": "MB"}
_REMEDY = "Raise it, or make room: `ragsaver documents delete`, or `lifecycle.retention` in the settings"


@dataclass(frozen=True, slots=True)
class Growth:
    """What a document adds; negative where its new version is smaller."""

    documents: int
    chunks: int
    bytes: int


class Quota:
    """Counts what is admitted of one run.

    :param used: what the tenant has, without what the run takes away.
    :param vector_bytes: of one chunk's vector.
    """

    def __init__(self, tenant: str, limits: QuotaSettings, used: Usage, vector_bytes: int) -> None:
        self._tenant = tenant
        self._limits = limits
        self._documents = used.documents
        self._chunks = used.chunks
        self._bytes = used.payload_bytes + used.chunks * vector_bytes

    def admit(self, source: str, growth: Growth) -> None:
        """Count a document in.

        :raises QuotaExceeded: naming the limit that it would pass; nothing of it is counted then.
        """
        limits = self._limits
        for name, grows_by, would_be, limit in (
            ("max_documents", growth.documents, self._documents + growth.documents, limits.max_documents),
            ("max_chunks", growth.chunks, self._chunks + growth.chunks, limits.max_chunks),
            ("max_mb", growth.bytes / _MB, (self._bytes + growth.bytes) / _MB, limits.max_mb),
        ):
            if limit is not None and grows_by > 0 and would_be > limit:
                kept = "" if growth.documents else "; its old version stays"
                raise QuotaExceeded(
                    f"would bring tenant `{self._tenant}` to {round(would_be, 3)} {_UNITS[name]}, "
                    f"`lifecycle.quota.{name}` allows {limit}{kept}",
                    where=source,
                    remedy=_REMEDY,
                )
        self._documents += growth.documents
        self._chunks += growth.chunks
        self._bytes += growth.bytes


def admitted(
    changes: Iterable[Change],
    seen: Seen,
    limits: QuotaSettings,
    manifest: Manifest,
    scope: Scope,
    gone: Sequence[DocumentRecord],
    vector_bytes: int,
) -> Iterator[Change]:
    """The changes that the tenant's quota allows; the others are noted in `seen`, and nothing of them goes in.

    :param gone: documents that the same run takes away.
    :param vector_bytes: of one chunk's vector.
    """
    if limits == QuotaSettings():
        yield from changes
        return
    used, originals = manifest.usage(scope.tenant), manifest.originals.of(scope)

    def payload_bytes(record: DocumentRecord) -> int:
        original = originals.get((record.id, record.generation))
        return original.payload_bytes if original else 0

    left = Usage(
        used.documents - len(gone),
        used.chunks - sum(len(record.chunks) for record in gone),
        used.payload_bytes - sum(payload_bytes(record) for record in gone),
    )
    quota = Quota(scope.tenant, limits, left, vector_bytes)
    for change in changes:
        old = change.old
        chunks = len(change.chunks) - (len(old.chunks) if old else 0)
        payload = change.payload_bytes - (payload_bytes(old) if old else 0)
        try:
            quota.admit(change.record.source, Growth(0 if old else 1, chunks, payload + chunks * vector_bytes))
        except QuotaExceeded as error:
            seen.fail(change.record.source, error)
        else:
            yield change
