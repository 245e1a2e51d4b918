"""The second stage: texts of many documents are embedded together, each once, and the cache hands them over.

Vectors never travel through the broker. A text is held while it is embedded, so that two workers whose documents
share it do not both pay for it. What it costs is kept back before. What was embedded is written down before the cache
has it: who dies in between has it embedded again, and it is on the bill as often as it was paid for. The ledger follows
the bill: no document moves on before it has.
"""

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ragsaver.errors import BudgetExceeded, RagSaverError
from ragsaver.ingestion.embedding import embedded
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.queued_document import QueuedDocument
from ragsaver.ingestion.staging import unpack
from ragsaver.models.batching import groups_within
from ragsaver.workers.stages import Step, Worker

# Until a document is looked at again whose texts another worker is embedding.
_OTHERS_S = 0.5


@dataclass(frozen=True, slots=True)
class _Held:
    """A document with the texts that it needs, by fingerprint, and who holds it."""

    document: QueuedDocument
    holder: str
    texts: dict[str, str]


class Embedding:
    """Embeds what converted documents need."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def embed(self, count: int) -> None:
        """Take the next documents from `converted` on, so many or as many as wait.

        Documents that were tried before go alone: one of them may be what ended the worker that tried them.
        """
        left = count
        while left:
            if self._worker.stopping.is_set():
                self._worker.jobs.documents.unsend(State.CONVERTED, left)
                return
            documents, holder = self._worker.claim(State.CONVERTED, left)
            if not documents:
                return
            left -= len(documents)
            self._together(documents, holder)

    def _together(self, documents: Sequence[QueuedDocument], holder: str) -> None:
        with self._worker.holding([holder]):
            by_partition: dict[str, list[_Held]] = {}
            for document in documents:
                if one := self._hold(document, holder):
                    by_partition.setdefault(self._worker.partition(document.scope), []).append(one)
            for partition, some in by_partition.items():
                self._try(partition, some)

    def _hold(self, document: QueuedDocument, holder: str) -> _Held | None:
        worker = self._worker
        try:
            staged = unpack(document.staged or b"")
            if staged.record.config != worker.recipe.config:
                other = RagSaverError(
                    "was cut by other settings or for another model than this worker has",
                    where=document.source,
                    remedy="Give all workers the same settings, then `ragsaver jobs retry`",
                )
                # One of the two workers may be about to move on to what a migration has put in place.
                worker.again(document, holder, State.CONVERTED, other, anew=True)
                return None
            texts = worker.needed(document, staged).texts
        except Exception as error:
            worker.again(document, holder, State.CONVERTED, error)
            return None
        return _Held(document, holder, texts)

    def _try(self, partition: str, held: Sequence[_Held]) -> None:
        """Together, and one by one if that fails: one document must not take the others with it."""
        try:
            spent = self._fill(partition, held)
        except Exception as error:
            if len(held) > 1:
                for one in held:
                    self._try(partition, [one])
            elif isinstance(error, BudgetExceeded):
                self._worker.wait(held[0].document, held[0].holder, error)
            else:
                self._worker.again(held[0].document, held[0].holder, State.CONVERTED, error)
            return
        self._move_on(partition, held, spent)

    def _fill(self, partition: str, held: Sequence[_Held]) -> Counter[str]:
        """Embed what the cache lacks and nobody else is embedding, each text for the first document that has it; tokens
        by document.
        """
        worker = self._worker
        texts = {name: text for one in held for name, text in one.texts.items()}
        whose = {name: one.document.id for one in reversed(held) for name in one.texts}
        all_spent: Counter[str] = Counter()
        holder = uuid.uuid4().hex
        mine = worker.jobs.texts.claim(partition, list(texts), holder, worker.lease_s)
        try:
            with worker.holding([holder]):
                # Asked after the claim: who held a text before us has put it there.
                there = worker.cache.holds(partition, list(mine))
                names = [name for name in texts if name in mine and name not in there]
                tokens = worker.encoder.count_tokens([texts[name] for name in names])
                for group in groups_within(tokens, worker.settings.queue.embed_batch_tokens):
                    if worker.stopping.is_set():
                        break
                    self._fault(Step.EMBEDDING, held)
                    spent: Counter[str] = Counter()
                    for n in group:
                        spent[whose[names[n]]] += tokens[n]
                    money = worker.reserve(spent, [one.document for one in held])
                    try:
                        self._fault(Step.RESERVED, held)
                        fresh = embedded(worker.encoder, worker.cache, {names[n]: texts[names[n]] for n in group})
                    except BaseException:
                        worker.give_back(money)
                        raise
                    worker.jobs.documents.embedded(spent)
                    all_spent += spent
                    try:
                        fresh.keep(worker.cache, partition)
                    finally:
                        worker.charge(list(spent), money)
                    self._fault(Step.CACHED, held)
        finally:
            worker.jobs.texts.release(holder)
        # Who embedded for one of them before may have died between its bill and the ledger.
        worker.charge([one.document.id for one in held])
        return all_spent

    def _move_on(self, partition: str, held: Sequence[_Held], spent: Counter[str]) -> None:
        worker = self._worker
        there = worker.cache.holds(partition, list({name for one in held for name in one.texts}))
        for one in held:
            if one.texts.keys() <= there:
                worker.forward(one.document.id, State.CONVERTED, State.EMBEDDED, tokens=spent[one.document.id])
            elif worker.stopping.is_set():
                worker.hand_back(one.document, one.holder)
            else:
                worker.jobs.documents.put_back(one.document.id, one.holder, wait_s=_OTHERS_S, error=None, tried=False)
        self._fault(Step.EMBEDDED, held)

    def _fault(self, step: Step, held: Sequence[_Held]) -> None:
        for one in held:
            self._worker.fault(step, one.document.source)
