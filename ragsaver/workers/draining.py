"""The last stage: the index's owner brings in what others have converted and embedded.

Vectors come from the cache. What stopped it is mended as any ingestion is: the manifest says what is in.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from ragsaver.errors import BudgetExceeded, IndexLocked, StorageError
from ragsaver.index.scope import Scope
from ragsaver.ingestion.applying import Applier
from ragsaver.ingestion.applying import Step as ApplyStep
from ragsaver.ingestion.charging import EmbeddingCharges
from ragsaver.ingestion.cutting import recipe_of
from ragsaver.ingestion.gates import STAYS_OUT, Seen
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.jobs import JobStore
from ragsaver.ingestion.kept_vectors import KeptVectors
from ragsaver.ingestion.manifest import DocumentRecord, now
from ragsaver.ingestion.notes import Note
from ragsaver.ingestion.planning import Change, batches, original_of
from ragsaver.ingestion.queued_document import QueuedDocument
from ragsaver.ingestion.quota import admitted
from ragsaver.ingestion.retention import keeps_out
from ragsaver.ingestion.staging import Action, Settled, Staged, settle, unpack
from ragsaver.ingestion.standing import vector_bytes
from ragsaver.ingestion.summarising import Bill
from ragsaver.ingestion.text_tokens import TokensTold
from ragsaver.pipelines.runtime import Runtime
from ragsaver.spend.budgets import Account
from ragsaver.spend.ledger import Lease
from ragsaver.workers.backoff import backoff_s, room_in_s, told
from ragsaver.workers.moves import Moved, nobody

_AT_A_TIME = 200

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A document to bring in, and what that takes."""

    document: QueuedDocument
    staged: Staged
    todo: Change | DocumentRecord


class Drainer:
    """Brings embedded documents in. One at a time: the caller owns the index, or takes turns with others.

    :param fault: called with each step of the protocol once it is done; tests stop it there.
    :param moved: told of the documents that were moved on.
    """

    def __init__(
        self,
        runtime: Runtime,
        jobs: JobStore,
        fault: Callable[[ApplyStep], None] = lambda step: None,
        moved: Moved = nobody,
    ) -> None:
        self._runtime = runtime
        self._settings = runtime.settings
        self._jobs = jobs
        self._moved = moved
        self._charges = EmbeddingCharges(runtime.settings, runtime.encoder.name)
        self._applier = Applier(
            runtime.index,
            runtime.encoder,
            runtime.manifest,
            runtime.embeddings,
            shared_by_tenants=runtime.settings.embedding_cache.shared_by_tenants,
            summaries=runtime.summaries,
            still=runtime.writers.still,
            fault=fault,
        )

    def close(self) -> None:
        """Let go of the ledger."""
        self._charges.close()

    def drain(self, stopping: Callable[[], bool] = lambda: False) -> int:
        """Bring in what is ready; how many documents were moved on.

        :param stopping: asked between batches.
        :raises StorageError: if the disk is full; the documents wait.
        """
        moved = 0
        while not stopping() and (ready := self._jobs.documents.ready(_AT_A_TIME)):
            before = moved
            for scope, some in _batches(ready):
                if stopping():
                    break
                moved += self._in_turn(scope, some)
            if moved == before:
                break  # others bring these in
        if moved:
            self._runtime.index.flush()
        return moved

    def _in_turn(self, scope: Scope, documents: Sequence[QueuedDocument]) -> int:
        """A batch, unless another process changes the tenant's documents now; without what was brought in meanwhile."""
        try:
            with self._runtime.writers.turn(scope.tenant, patience_s=0.0):
                there = self._jobs.documents.still(State.EMBEDDED, [one.id for one in documents])
                some = [one for one in documents if one.id in there]
                return self._bring_in(scope, some) if some else 0
        except IndexLocked:
            return 0

    def _bring_in(self, scope: Scope, documents: Sequence[QueuedDocument]) -> int:
        """A batch; one by one if that fails, so that a document that can't go in keeps none of the others out."""
        try:
            self._applier.recover(scope)
            self._apply(scope, [one for document in documents if (one := self._settled(document))])
        except StorageError:
            raise
        except Exception as error:
            if len(documents) > 1:
                return sum(self._bring_in(scope, [document]) for document in documents)
            self._not_applied(documents[0], error)
        return len(documents)

    def _settled(self, document: QueuedDocument) -> _Ready | None:
        """What it takes by now; None if nothing, or if it has to be cut again."""
        staged = unpack(document.staged or b"")
        runtime = self._runtime
        recipe = recipe_of(runtime.settings, runtime.encoder.fingerprint)
        if staged.action is Action.APPLY and staged.record.config != recipe.config:
            self._jobs.documents.restart(document.id)
            return None
        current = runtime.manifest.document(document.scope, document.source)
        if (
            current is None
            and staged.action is Action.APPLY
            and document.text is None
            and self._stays_out(document, staged)
        ):
            self._forward(document, State.UNCHANGED, STAYS_OUT)
            return None
        if current is not None and staged.action is Action.APPLY:
            current = self._applier.outliner.to_do(document.scope, {document.source: current})[document.source]
        todo = settle(staged, current)
        if isinstance(todo, Settled):
            done = State.APPLIED if todo is Settled.IS_IN else State.UNCHANGED
            if done is State.APPLIED:
                self._charge([document])
                self._forward(document, done, notes=staged.notes)
            else:
                self._forward(document, done, todo.value)
            return None
        return _Ready(document, staged, todo)

    def _stays_out(self, document: QueuedDocument, staged: Staged) -> bool:
        """Whether retention has taken the document out since it was cut."""
        tombstone = self._runtime.manifest.tombstones.of(document.scope, document.source).get(document.source)
        rule = self._settings.lifecycle.retention.get(document.scope.collection)
        return (
            tombstone is not None
            and tombstone.content_hash == staged.record.content_hash
            and keeps_out(tombstone, rule, now())
        )

    def _apply(self, scope: Scope, ready: Sequence[_Ready]) -> None:
        held: list[Lease] = []
        try:
            seen = self._write(scope, ready, held)
        finally:
            self._charge([one.document for one in ready], held)
        refused = {failure.source: failure.error for failure in seen.errors}
        for one in ready:
            done = State.UNCHANGED if one.staged.action is Action.TOUCH else State.APPLIED
            error = refused.get(one.document.source)
            if error:
                self._forward(one.document, State.FAILED, error)
            else:
                self._forward(one.document, done, notes=one.staged.notes)

    def _write(self, scope: Scope, ready: Sequence[_Ready], held: list[Lease]) -> Seen:
        """
        :param held: gets what is held for texts that are embedded here, since the cache has lost them.
        """
        changes = [one.todo for one in ready if isinstance(one.todo, Change)]
        others = [(one.staged.action, one.todo) for one in ready if isinstance(one.todo, DocumentRecord)]
        gone = [record for action, record in others if action is Action.FORGET]
        posted = {one.document.source: item for one in ready if (item := one.document.item())}
        seen = Seen()
        manifest = self._runtime.manifest
        for batch in batches(self._admitted(changes, seen, scope, gone), self._settings.ingestion.batch_chunks):
            originals = [original_of(change, posted.get(change.record.source)) for change in batch]
            paid = self._applier.apply(
                scope,
                batch,
                originals=originals,
                bill=self._bill(ready),
                told=self._told(ready),
                kept=KeptVectors(self._runtime.index, scope, partial(manifest.alike, scope), gone),
                first=self._reserving(scope, ready, held),
            )
            lacking = paid.summaries
            if lacking.lacking:
                _log.warning("%d sections are without a summary: %s", lacking.lacking, lacking.problem)
        if gone and self._jobs.documents.more_waiting_than(len(ready)):
            self._applier.keep(scope, gone)  # one of those that wait may be one of these under another name
        self._applier.forget(scope, gone)
        manifest.commit(scope, [record for action, record in others if action is Action.TOUCH])
        return seen

    def _bill(self, ready: Sequence[_Ready]) -> Bill | None:
        """Charges documents' jobs for their summaries."""
        model = self._settings.outline.summary_model
        if model is None:
            return None
        of = _jobs_documents(ready)
        return lambda charges: self._jobs.bills.add(model, charges, of)

    def _told(self, ready: Sequence[_Ready]) -> TokensTold:
        """Notes what documents' texts took."""
        of = _jobs_documents(ready)
        return lambda took: self._jobs.documents.took({of[one]: tokens for one, tokens in took.items()})

    def _reserving(self, scope: Scope, ready: Sequence[_Ready], held: list[Lease]) -> TokensTold:
        """Keeps back what documents' texts cost before they are embedded."""
        of = _jobs_documents(ready)
        return lambda texts: held.extend(
            self._charges.reserve(
                {Account(scope.tenant, request_id=of[one]): tokens.embedded for one, tokens in texts.items()}
            )
        )

    def _charge(self, documents: Sequence[QueuedDocument], held: Sequence[Lease] = ()) -> None:
        """Have the ledger know what was embedded for them; until it does they wait.

        :param held: ends with this.
        """
        if self._charges.any:
            self._charges.charge(self._jobs.documents.spent([one.id for one in documents]), held)

    def _forward(
        self, document: QueuedDocument, after: State, error: str | None = None, notes: Sequence[Note] = ()
    ) -> None:
        if self._jobs.documents.forward(document.id, State.EMBEDDED, after, error=error, notes=notes):
            self._moved(after, 1)

    def _admitted(
        self, changes: Sequence[Change], seen: Seen, scope: Scope, gone: Sequence[DocumentRecord]
    ) -> Iterator[Change]:
        quota, width = self._settings.lifecycle.quota, vector_bytes(1, self._runtime.encoder.dim)
        return admitted(changes, seen, quota, self._runtime.manifest, scope, gone, width)

    def _not_applied(self, document: QueuedDocument, error: Exception) -> None:
        _log.warning("%s can't be brought in: %s", document.source, told(error))
        limits = self._runtime.settings.queue
        if isinstance(error, BudgetExceeded):
            self._jobs.documents.not_applied(document.id, told(error), wait_s=room_in_s(error, limits))
            return
        wait_s = backoff_s(document.attempts + 1, limits)
        dead = self._jobs.documents.not_applied(
            document.id, told(error), wait_s=wait_s, max_attempts=limits.max_attempts
        )
        if dead:
            self._moved(State.DEAD, 1)


def _jobs_documents(ready: Sequence[_Ready]) -> dict[str, str]:
    """Jobs' documents by the manifest's ids."""
    return {one.staged.record.id: one.document.id for one in ready}


def _batches(ready: Sequence[QueuedDocument]) -> Iterator[tuple[Scope, list[QueuedDocument]]]:
    """Documents of one scope together, those scopes first that are first; never two versions of one document in a
    batch: the second sees the first one in.
    """
    opened: list[tuple[Scope, dict[str, QueuedDocument]]] = []
    last: dict[Scope, dict[str, QueuedDocument]] = {}
    for document in ready:
        there = last.get(document.scope)
        if there is None or document.source in there:
            there = last[document.scope] = {}
            opened.append((document.scope, there))
        there[document.source] = document
    for scope, batch in opened:
        yield scope, list(batch.values())
