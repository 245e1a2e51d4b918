"""What a worker works with, and what it does with a document whichever its stage is: hold it, or let go of it."""

import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ragsaver.caching.embeddings import EmbeddingCache
from ragsaver.caching.opening import open_embedding_cache, partition_of
from ragsaver.database import Place
from ragsaver.errors import BudgetExceeded, StorageError
from ragsaver.index.scope import Scope
from ragsaver.ingestion.charging import EmbeddingCharges
from ragsaver.ingestion.cutting import recipe_of
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.jobs import JobStore
from ragsaver.ingestion.kept_vectors import held_by
from ragsaver.ingestion.manifest import Manifest
from ragsaver.ingestion.preparing import Recipe
from ragsaver.ingestion.queued_document import QueuedDocument
from ragsaver.ingestion.staging import Staged
from ragsaver.models.batching import BatchObserver
from ragsaver.models.protocol import Encoder
from ragsaver.models.registry import load_encoder
from ragsaver.pipelines.runtime import Runtime
from ragsaver.settings import Settings
from ragsaver.spend.budgets import Account
from ragsaver.spend.ledger import Lease
from ragsaver.workers.backoff import backoff_s, room_in_s, told
from ragsaver.workers.broker import Broker
from ragsaver.workers.holding import Holding
from ragsaver.workers.moves import MovedOn, nobody
from ragsaver.workers.queueing import open_jobs

# Within which a worker asks what a migration has put in place, and moves on to it.
MOVES_S = 5.0

_log = logging.getLogger(__name__)


class Step(StrEnum):
    """What has just been done with a document; a worker may die after any of them."""

    CONVERTING = "converting"
    CONVERTED = "converted"
    EMBEDDING = "embedding"
    RESERVED = "reserved"
    CACHED = "cached"
    EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Needed:
    """What is embedded of a document's new chunks, without what the index has vectors of: those are taken from there as
    it is brought in.

    :ivar texts: by fingerprint; none where the cache had all of them just now.
    :ivar lacking: whether the cache lacked some of them just now.
    """

    texts: dict[str, str]
    lacking: bool


class Worker:
    """A process that takes documents on, without the index.

    :param stopping: set once the process is told to stop: what has not begun is handed back.
    :param fault: called with each step once it is done, and the source; tests end the process there.
    :param moved: told of each document that this worker moved on.
    :param opened: close what it opened itself.
    """

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        jobs: JobStore,
        encoder: Encoder,
        manifest: Manifest,
        cache: EmbeddingCache,
        stopping: threading.Event,
        fault: Callable[[Step, str], None] | None = None,
        moved: MovedOn = nobody,
        opened: Sequence[Callable[[], None]] = (),
    ) -> None:
        self.settings = settings
        self.broker = broker
        self.jobs = jobs
        self.encoder = encoder
        self.manifest = manifest
        self.cache = cache
        self.stopping = stopping
        self.fault = fault or _go_on
        self._moved = moved
        self._opened = opened
        self.lease_s = settings.queue.visibility_timeout_s
        self._charges = EmbeddingCharges(settings, encoder.name)
        self.holding = Holding(jobs, self.lease_s, settings.queue.max_hold_s)

    @classmethod
    def of_its_own(
        cls,
        settings: Settings,
        manifest_at: Place,
        broker: Broker,
        stopping: threading.Event,
        on_batch: BatchObserver | None = None,
        moved: MovedOn = nobody,
    ) -> "Worker":
        """One that opens what it works with.

        :param manifest_at: where the manifest in use is.
        """
        jobs, manifest = open_jobs(settings), Manifest(manifest_at)
        cache = open_embedding_cache(settings.home, settings.embedding_cache)
        encoder = load_encoder(settings.embedding, on_batch)
        opened = (jobs.close, manifest.close, cache.close)
        return cls(settings, broker, jobs, encoder, manifest, cache, stopping, moved=moved, opened=opened)

    @classmethod
    def of_runtime(
        cls, runtime: Runtime, broker: Broker, stopping: threading.Event, moved: MovedOn = nobody
    ) -> "Worker":
        """One in the process that owns the index."""
        jobs = open_jobs(runtime.settings)
        return cls(
            runtime.settings,
            broker,
            jobs,
            runtime.encoder,
            runtime.manifest,
            runtime.embeddings,
            stopping,
            moved=moved,
            opened=(jobs.close,),
        )

    def close(self) -> None:
        """Close what it opened itself."""
        self._charges.close()
        for close in self._opened:
            close()

    @property
    def recipe(self) -> Recipe:
        """How documents are cut."""
        return recipe_of(self.settings, self.encoder.fingerprint)

    def partition(self, scope: Scope) -> str:
        """The part of the embedding cache that a scope may use."""
        return partition_of(scope.tenant, self.settings.embedding_cache)

    def needed(self, document: QueuedDocument, staged: Staged) -> Needed:
        """The vectors that a document takes to be brought in."""
        current = self.manifest.document(document.scope, document.source)
        texts = staged.texts(current)
        cached = self.cache.holds(self.partition(document.scope), list(texts))
        if texts.keys() <= cached:
            return Needed({}, lacking=False)
        there = held_by(current, self.manifest.alike(document.scope, staged.record.content_hash))
        texts = {name: text for name, text in texts.items() if name not in there}
        return Needed(texts, lacking=not texts.keys() <= cached)

    def claim(self, state: State, limit: int) -> tuple[list[QueuedDocument], str]:
        """Hold the documents whose turn it is, `limit` at most, under a name of our own; none if none waits."""
        holder = uuid.uuid4().hex
        return self.jobs.documents.claim(state, holder, limit=limit, lease_s=self.lease_s), holder

    def forward(self, document_id: str, before: State, after: State, *, tokens: int = 0, **more: Any) -> bool:
        """Move a document on, as `DocumentLine.forward` does, and tell of it.

        :param tokens: that were embedded for it.
        """
        moved = self.jobs.documents.forward(document_id, before, after, **more)
        if moved:
            self._moved(after, tokens)
        return moved

    def reserve(self, tokens: Mapping[str, int], documents: Sequence[QueuedDocument]) -> list[Lease]:
        """Keep back what embedding costs, of all documents or of none.

        :param tokens: by the documents' ids.
        :raises BudgetExceeded: if a budget has no room for it.
        :raises StorageError: if the ledger can't be written.
        """
        tenants = {one.id: one.scope.tenant for one in documents}
        return self._charges.reserve({Account(tenants[one], request_id=one): n for one, n in tokens.items()})

    def give_back(self, held: Sequence[Lease]) -> None:
        """Nothing was embedded for it after all; it never fails: what can't be given back expires."""
        try:
            self._charges.charge({}, held)
        except StorageError as error:
            _log.warning("what was held for texts that are not embedded waits until it expires: %s", error)

    def charge(self, document_ids: Sequence[str], held: Sequence[Lease] = ()) -> None:
        """Have the ledger know what was embedded for documents so far.

        :param held: for what was just embedded; it is charged for those that were dropped from their job meanwhile.
        :raises StorageError: if it can't be written.
        """
        if self._charges.any:
            embedded = {one.account: one.call.prompt_tokens for one in held}
            self._charges.charge(embedded | self.jobs.documents.spent(document_ids), held)

    def wait(self, document: QueuedDocument, holder: str, error: BudgetExceeded) -> None:
        """A budget has no room for a document now: later again, and this was no attempt."""
        _log.info("%s waits: %s", document.source, error)
        wait_s = room_in_s(error, self.settings.queue)
        self.jobs.documents.put_back(document.id, holder, wait_s=wait_s, error=told(error), tried=False)

    def again(
        self, document: QueuedDocument, holder: str, state: State, error: Exception, *, anew: bool = False
    ) -> None:
        """An attempt failed: later again, or never.

        :param anew: whether it has to be cut again, once whoever has not moved to a migrated index yet has had the
            time to.
        """
        limits = self.settings.queue
        _log.warning("%s (attempt %d of %d): %s", document.source, document.attempts, limits.max_attempts, told(error))
        if document.attempts >= limits.max_attempts:
            self.forward(document.id, state, State.DEAD, error=told(error))
        else:
            wait_s = max(backoff_s(document.attempts, limits), MOVES_S if anew else 0.0)
            self.jobs.documents.put_back(document.id, holder, wait_s=wait_s, error=told(error), tried=True, anew=anew)

    def hand_back(self, document: QueuedDocument, holder: str) -> None:
        """Somebody else may go on at once; this was no attempt."""
        self.jobs.documents.put_back(document.id, holder, wait_s=0.0, error=None, tried=False)


def _go_on(step: Step, source: str) -> None:
    """Nothing happens between two steps."""
