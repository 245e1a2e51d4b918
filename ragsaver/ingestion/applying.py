"""The index follows the manifest: one batch of changes at a time, and whatever stops it is mended by the next run.

record the intents → embed what cache and index lack, and fill the cache → write the new points, unlisted → make the
outlines → commit them with the manifest's rows → rewrite what staying points carry → list the new points and delete
the old ones → clear the intents. Each step may be done twice. Until the commit the old version of a document is the
true one, and its points are untouched.
"""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from ragsaver.caching.embeddings import EmbeddingCache, rounded
from ragsaver.index.protocol import ChunkPoint, VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.ingestion.embedding import embedded
from ragsaver.ingestion.identity import IdentifiedChunk
from ragsaver.ingestion.kept_vectors import KeptVectors
from ragsaver.ingestion.manifest import DocumentRecord, Intent, Manifest
from ragsaver.ingestion.originals import Original
from ragsaver.ingestion.outlining import Outliner
from ragsaver.ingestion.planning import Change, forgetting
from ragsaver.ingestion.summarising import Allowance, Bill, Summaries, Summarised
from ragsaver.ingestion.text_tokens import TextTokens, TokensTold, by_document
from ragsaver.ingestion.tombstones import Tombstone
from ragsaver.models.protocol import Encoder


class Step(StrEnum):
    """What has just been done, in this order; a stop may come after any of them."""

    INTENT = "intent"
    EMBEDDED = "embedded"
    UPSERTED = "upserted"
    OUTLINED = "outlined"
    COMMITTED = "committed"
    REWRITTEN = "rewritten"
    SWAPPED = "swapped"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True)
class Paid:
    """What a batch took: texts embedded, in how many seconds, texts that were there, their tokens, and summaries."""

    embedded: int = 0
    embedded_tokens: int = 0
    embedded_s: float = 0.0
    cached: int = 0
    cached_tokens: int = 0
    summaries: Summarised = field(default_factory=Summarised)

    def __add__(self, other: "Paid") -> "Paid":
        return Paid(
            self.embedded + other.embedded,
            self.embedded_tokens + other.embedded_tokens,
            self.embedded_s + other.embedded_s,
            self.cached + other.cached,
            self.cached_tokens + other.cached_tokens,
            self.summaries + other.summaries,
        )


@dataclass(frozen=True, slots=True)
class Embedded:
    """A batch half way: its vectors are there, by what was embedded, and nothing of it is written."""

    batch: Sequence[Change]
    intents: Sequence[Intent]
    vectors: Mapping[str, NDArray[np.float32]]
    paid: Paid


def _nobody(took: Mapping[str, TextTokens]) -> None:
    """Nobody bills the documents one by one."""


class Applier:
    """Takes changes through the protocol. One at a time: the caller owns the index.

    :param shared_by_tenants: whether tenants share the caches of embeddings and summaries.
    :param summaries: of sections, for outlines; None where none are wanted.
    :param still: called before each commit; raises if others may change the tenant's documents by now.
    :param fault: called with each step once it is done; tests stop the run there.
    """

    def __init__(
        self,
        index: VectorIndex,
        encoder: Encoder,
        manifest: Manifest,
        cache: EmbeddingCache,
        *,
        shared_by_tenants: bool = False,
        summaries: Summaries | None = None,
        still: Callable[[str], None] = lambda tenant: None,
        fault: Callable[[Step], None] = lambda step: None,
    ) -> None:
        self._index = index
        self._encoder = encoder
        self._manifest = manifest
        self._cache = cache
        self._shared = shared_by_tenants
        self._still = still
        self._fault = fault
        self.outliner = Outliner(index, manifest, summaries)

    def partition(self, scope: Scope) -> str:
        """The part of the caches that a scope may use: its tenant's, unless all share one."""
        return "" if self._shared else scope.tenant

    def measure(self, scope: Scope, chunks: Sequence[IdentifiedChunk]) -> float:
        """Tokens a second that the model embeds here; the texts are in the cache then."""
        _, paid = self._embed(scope, chunks, lambda lacking: {}, lambda counts, fresh: None)
        return paid.embedded_tokens / paid.embedded_s if paid.embedded_tokens else math.inf

    def recover(self, scope: Scope) -> None:
        """Finish what was committed, and undo what was not: its vectors are in the cache."""
        intents = self._manifest.intents(scope)
        if not intents:
            return
        known = {record.id: record for record in self._manifest.documents(scope).values()}
        for intent in intents:
            record = known.get(intent.document_id)
            if intent.generation == (record.generation if record else 0):
                self._follow(scope, [intent])
            else:
                stay = record.points if record else ()
                self._index.list_and_delete(scope, [], [one for one in intent.listed if one not in stay])
            self._manifest.clear_intents([intent.document_id])

    def apply(
        self,
        scope: Scope,
        batch: Sequence[Change],
        allowance: Allowance | None = None,
        originals: Sequence[Original] = (),
        bill: Bill | None = None,
        told: TokensTold = _nobody,
        kept: KeptVectors | None = None,
        first: TokensTold = _nobody,
    ) -> Paid:
        """Make the new versions the true ones.

        :param allowance: what summaries may cost.
        :param originals: what has to outlive the new versions' ingestion.
        :param bill: told what each section's summary took, by the documents' ids.
        :param told: what each document's texts took, before the cache has those that were embedded.
        :param kept: where the index may have what the cache lacks; None looks at the documents' own earlier versions.
        :param first: told the same before anything is embedded; what it raises leaves the intents to be mended.
        :raises StorageError: if the disk is full; the old versions stay until a later run.
        """
        half_way = self.embed(scope, batch, originals, told, kept, first)
        return replace(half_way.paid, summaries=self.write(scope, half_way, allowance, bill))

    def embed(
        self,
        scope: Scope,
        batch: Sequence[Change],
        originals: Sequence[Original] = (),
        told: TokensTold = _nobody,
        kept: KeptVectors | None = None,
        first: TokensTold = _nobody,
    ) -> Embedded:
        """The first half of `apply`: index and manifest's documents are not touched yet.

        May be done while another batch, of other documents, is in its second half.

        :param originals: what has to outlive the new versions' ingestion.
        :param told: what each document's texts took, before the cache has those that were embedded.
        :param kept: where the index may have what the cache lacks; None looks at the documents' own earlier versions.
        :param first: told the same before anything is embedded; what it raises leaves the intents to be mended.
        """
        intents = [change.intent() for change in batch]
        self._manifest.record_intents(scope, intents, originals)
        self._fault(Step.INTENT)
        there = kept or KeptVectors(self._index, scope)
        vectors, paid = self._embed(
            scope,
            [one for change in batch for one in change.new],
            lambda lacking: there.vectors(batch, lacking),
            lambda counts, fresh: told(by_document(batch, counts, fresh)),
            lambda counts, lacking: first(by_document(batch, counts, lacking)),
        )
        self._fault(Step.EMBEDDED)
        return Embedded(batch, intents, vectors, paid)

    def write(
        self, scope: Scope, half_way: Embedded, allowance: Allowance | None = None, bill: Bill | None = None
    ) -> Summarised:
        """The second half, one at a time; what summaries took.

        :param allowance: what they may cost.
        :param bill: told what each took.
        """
        batch, vectors = half_way.batch, half_way.vectors
        new = [(change, one) for change in batch for one in change.new]
        shown = self._encoder.count_tokens([one.chunk.text for _, one in new])
        self._index.upsert(
            scope,
            [
                point_of(change.record.id, one, vectors[one.prints.embedded], tokens)
                for (change, one), tokens in zip(new, shown, strict=True)
            ],
        )
        self._fault(Step.UPSERTED)
        outlines, taken = self.outliner.outlines(scope, self.partition(scope), batch, vectors, allowance, bill)
        self._fault(Step.OUTLINED)
        self._still(scope.tenant)
        self._manifest.commit(scope, [change.record for change in batch], outlines=outlines)
        self._fault(Step.COMMITTED)
        self._follow(scope, half_way.intents)
        self._manifest.clear_intents([intent.document_id for intent in half_way.intents])
        self._fault(Step.CLEARED)
        return taken

    def keep(self, scope: Scope, records: Sequence[DocumentRecord]) -> None:
        """Give the cache what it lacks of documents' vectors."""
        points = {prints.embedded: prints.id for one in records for prints in one.chunks if prints.embedded}
        partition = self.partition(scope)
        lacking = {points[name]: name for name in points.keys() - self._cache.holds(partition, list(points))}
        if lacking:
            found = self._index.vectors(scope, list(lacking))
            self._cache.put(partition, {lacking[point]: rounded(vector) for point, vector in found.items()})

    def forget(self, scope: Scope, records: Sequence[DocumentRecord], buried: Sequence[Tombstone] = ()) -> None:
        """Remove documents and their points.

        :param buried: tombstones of those that retention takes out.
        """
        if not records:
            return
        intents = [forgetting(record) for record in records]
        self._manifest.record_intents(scope, intents)
        self._fault(Step.INTENT)
        self._still(scope.tenant)
        self._manifest.commit(scope, [], gone=[record.id for record in records], buried=buried)
        self._fault(Step.COMMITTED)
        self._follow(scope, intents)
        self._manifest.clear_intents([intent.document_id for intent in intents])
        self._fault(Step.CLEARED)

    def _follow(self, scope: Scope, intents: Sequence[Intent]) -> None:
        """Bring the index to where the manifest is."""
        for intent in intents:
            self._index.set_payload(scope, intent.payloads)
        self._fault(Step.REWRITTEN)
        listed = [point for intent in intents for point in intent.listed]
        deleted = [point for intent in intents for point in intent.deleted]
        self._index.list_and_delete(scope, listed, deleted)
        self._fault(Step.SWAPPED)

    def _embed(
        self,
        scope: Scope,
        chunks: Sequence[IdentifiedChunk],
        elsewhere: Callable[[Sequence[str]], Mapping[str, NDArray[np.float32]]],
        told: Callable[[Mapping[str, int], Collection[str]], None],
        first: Callable[[Mapping[str, int], Collection[str]], None] = lambda counts, lacking: None,
    ) -> tuple[dict[str, NDArray[np.float32]], Paid]:
        """Vectors by what is embedded: the same text is embedded once, whatever documents it stands in.

        :param elsewhere: vectors that are there though the cache has lost them.
        :param told: the tokens of each text, and which ones were embedded.
        :param first: the same before they are.
        """
        texts = {one.prints.embedded: one.chunk.embed_text for one in chunks}
        partition = self.partition(scope)
        vectors = self._cache.get(partition, list(texts))
        found = elsewhere([name for name in texts if name not in vectors])
        vectors |= found
        lacking = [name for name in texts if name not in vectors]
        counts = dict(zip(texts, self._encoder.count_tokens(list(texts.values())), strict=True))
        first(counts, lacking)
        started = time.perf_counter()
        fresh = embedded(self._encoder, self._cache, {name: texts[name] for name in lacking})
        took_s = time.perf_counter() - started
        told(counts, fresh.vectors)
        fresh.keep(self._cache, partition, found)
        paid = Paid(
            embedded=len(fresh.vectors),
            embedded_tokens=sum(counts[name] for name in fresh.vectors),
            embedded_s=took_s,
            cached=len(vectors),
            cached_tokens=sum(counts[name] for name in vectors),
        )
        return {**vectors, **fresh.vectors}, paid


def point_of(document_id: str, one: IdentifiedChunk, vector: NDArray[np.float32], tokens: int) -> ChunkPoint:
    """A chunk as the index keeps it.

    :param tokens: of its text, as it is shown.
    """
    payload = {**one.payload, "text": one.chunk.text, "chunk_hash": one.prints.embedded, "tokens": tokens}
    return ChunkPoint(one.id, document_id, vector, one.chunk.embed_text, payload, one.words)
