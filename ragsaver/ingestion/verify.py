"""Do manifest and index agree? Say what does not, and mend it."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ragsaver.errors import UnreadableDocument
from ragsaver.index.keys import GROUPS
from ragsaver.index.protocol import VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.ingestion.comparing import is_as_known, is_near
from ragsaver.ingestion.identity import Fingerprints, groups_of
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.manifest import DocumentRecord, Manifest
from ragsaver.ingestion.originals import Original
from ragsaver.ingestion.report import VerifyReport

STALE = "stale"

# Points that are looked at together.
_AT_A_TIME = 1000


def verify(
    manifest: Manifest, index: VectorIndex, ingestor: Ingestor, scope: Scope, *, vectors: bool = False
) -> VerifyReport:
    """Compare a scope's manifest with its points and repair the difference.

    Orphaned points are deleted, committed ones that are hidden are listed. Points that carry other readers than their
    document names, as those do that were written before there were groups, get these. Documents that miss points, or
    have points that carry something else than they say, are ingested again where their source is still there; the
    others are marked, and the next ingestion redoes them. What a point of theirs carries stays until then.

    :param vectors: hold the vectors against those that the embedding cache has, too.
    """
    with ingestor.writing(scope):
        return _Verification(manifest, index, ingestor, scope).report(vectors)


@dataclass(slots=True)
class _Looked:
    """What was found of points.

    :ivar readers: those that don't carry the groups that their document names, with these; none is everybody.
    :ivar altered: those that are not what the manifest knows of them.
    :ivar vectors: how many were compared.
    """

    readers: dict[str, list[str]] = field(default_factory=dict)
    altered: set[str] = field(default_factory=set)
    vectors: int = 0


@dataclass(frozen=True, slots=True)
class _Verification:
    manifest: Manifest
    index: VectorIndex
    ingestor: Ingestor
    scope: Scope

    def report(self, vectors: bool) -> VerifyReport:
        self.ingestor.recover(self.scope)
        documents = self.manifest.documents(self.scope)
        points = dict(self.index.ids(self.scope))
        named = {point for record in documents.values() for point in record.points}
        orphaned = sorted(points.keys() - named)
        missing = named - points.keys()
        looked = self._look(documents.values(), vectors)
        hidden = sorted(point for point in named & points.keys() - looked.altered if not points[point])
        self.index.list_and_delete(self.scope, hidden, orphaned)
        self.index.set_payload(self.scope, {point: {GROUPS: groups} for point, groups in looked.readers.items()})
        wrong = missing | looked.altered
        broken = [record for record in documents.values() if not wrong.isdisjoint(record.points)]
        mended = self._made_again(broken, missing, looked.altered) if broken else set()
        return VerifyReport(
            documents=len(documents),
            points=self.index.count(self.scope),
            missing=len(missing),
            orphaned=len(orphaned),
            readers=len(looked.readers),
            altered=len(looked.altered),
            vectors=looked.vectors,
            repaired=len({*orphaned, *hidden, *looked.readers, *mended}),
        )

    def _look(self, documents: Iterable[DocumentRecord], vectors: bool) -> _Looked:
        """What points carry, against what the manifest knows."""
        originals = self.manifest.originals.of(self.scope)
        recipe = self.ingestor.recipe
        looked = _Looked()
        for page in _pages(documents):
            for point, payload in self.index.payloads(self.scope, list(page)).items():
                record, prints = page[point]
                original = originals.get((record.id, record.generation))
                groups = _groups(record, original)
                if groups is not None and (payload.get(GROUPS) or []) != groups:
                    looked.readers[point] = groups
                model = recipe.model if record.config == STALE or recipe.embeds_as(record.config) else None
                if not is_as_known(payload, record.id, prints, original.metadata if original else None, model):
                    looked.altered.add(point)
            if vectors:
                self._look_at_vectors({point: prints.embedded for point, (_, prints) in page.items()}, looked)
        return looked

    def _look_at_vectors(self, embedded: Mapping[str, str], looked: _Looked) -> None:
        known = self.ingestor.remembered(self.scope, list(set(embedded.values())))
        for point, vector in self.index.vectors(self.scope, list(embedded)).items():
            wanted = known.get(embedded[point])
            if wanted is not None:
                looked.vectors += 1
                if not is_near(vector, wanted):
                    looked.altered.add(point)

    def _made_again(self, broken: Sequence[DocumentRecord], missing: set[str], altered: set[str]) -> set[str]:
        """Ingest broken documents again; the points that are mended by this."""
        self.manifest.commit(self.scope, [_stale(record, missing, altered) for record in broken])
        self.ingestor.ingest_again(broken, self.scope)
        now = self.manifest.documents(self.scope).values()
        left = {point for record in now for point in set(record.points) - record.intact}
        return altered - left | missing & dict(self.index.ids(self.scope)).keys()


def _pages(documents: Iterable[DocumentRecord]) -> Iterator[dict[str, tuple[DocumentRecord, Fingerprints]]]:
    """Points that the manifest names, some at a time, with what it knows of them."""
    page: dict[str, tuple[DocumentRecord, Fingerprints]] = {}
    for record in documents:
        for prints in record.chunks:
            page[prints.id] = (record, prints)
            if len(page) == _AT_A_TIME:
                yield page
                page = {}
    if page:
        yield page


def _groups(record: DocumentRecord, original: Original | None) -> list[str] | None:
    """The groups that a document names; None if it can't be told, as its next ingestion says."""
    try:
        return groups_of(original.metadata, record.source) if original else []
    except UnreadableDocument:
        return None


def _stale(record: DocumentRecord, missing: Container[str], altered: Container[str]) -> DocumentRecord:
    """The document with what is left of it, so that its next ingestion brings the rest."""
    kept = tuple(
        Fingerprints(prints.id, "", "", "") if prints.id in altered else prints
        for prints in record.chunks
        if prints.id not in missing
    )
    return record._replace(version="", content_hash="", config=STALE, chunks=kept)
