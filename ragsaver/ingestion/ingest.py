"""Bring documents in, and pay only for what changed.

Each document passes the gates (`gates`), what is left of it becomes a change (`planning`), and changes are applied
in batches (`applying`). A stop anywhere is mended by the next run.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ragsaver.caching.embeddings import EmbeddingCache
from ragsaver.index.protocol import VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.ingestion.accounting import Tally, report_of, told_kinds
from ragsaver.ingestion.affording import Affording, foreseen, told_waiting
from ragsaver.ingestion.applying import Applier, Paid, Step
from ragsaver.ingestion.charging import EmbeddingCharges, RunCharges
from ragsaver.ingestion.cutting import recipe_of
from ragsaver.ingestion.gates import Gates, InProcess, Preparing, Seen
from ragsaver.ingestion.identity import IdentifiedChunk
from ragsaver.ingestion.kept_vectors import KeptVectors, among
from ragsaver.ingestion.manifest import DocumentRecord, Manifest, now
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.ordered import Listed, look, replaced_by
from ragsaver.ingestion.planner import Planner, require_affordable
from ragsaver.ingestion.planning import Change, batches
from ragsaver.ingestion.quiet import Quiet
from ragsaver.ingestion.quota import admitted
from ragsaver.ingestion.report import IngestReport, PlanReport, Progress
from ragsaver.ingestion.rereading import item_again
from ragsaver.ingestion.rerun import Rerun
from ragsaver.ingestion.retention import Expiry, expiries, tombstone_of
from ragsaver.ingestion.sources import PostedDocument, SourceItem, location_of, require_sources
from ragsaver.ingestion.standing import standings, vector_bytes
from ragsaver.ingestion.summarising import Allowance, Summaries
from ragsaver.ingestion.tombstones import Tombstone, without_source
from ragsaver.ingestion.way import Way
from ragsaver.ingestion.writers import Alone, Writers
from ragsaver.ingestion.writing import Writing
from ragsaver.models.protocol import Encoder
from ragsaver.settings import Settings

# Tokens from which a run says more reliably than a few texts how fast this machine embeds.
_PACE_TOKENS = 5000


class Ingestor:
    """The way in for documents. One run at a time: the caller owns the index, or takes turns with others.

    :param preparing: where documents are cut; in this process if None.
    :param fault: called with each step of the protocol once it is done; tests stop the run there.
    :param summaries: of sections, for outlines; None where none are wanted.
    :param writers: keeps others from changing the same tenant's documents; None where this process owns the index.
    """

    def __init__(
        self,
        settings: Settings,
        index: VectorIndex,
        encoder: Encoder,
        manifest: Manifest,
        cache: EmbeddingCache,
        preparing: Preparing | None = None,
        fault: Callable[[Step], None] = lambda step: None,
        summaries: Summaries | None = None,
        writers: Writers | None = None,
    ) -> None:
        self._settings = settings
        self._index = index
        self._manifest = manifest
        self._encoder = encoder
        self._cache = cache
        self._preparing = preparing or InProcess()
        self._summaries = summaries
        self._writers = writers or Alone()
        self._charges = EmbeddingCharges(settings, encoder.name)
        self._applier = Applier(
            index,
            encoder,
            manifest,
            cache,
            shared_by_tenants=settings.embedding_cache.shared_by_tenants,
            summaries=summaries,
            still=self._writers.still,
            fault=fault,
        )
        self.recipe = replace(recipe_of(settings, encoder.fingerprint), words=index.words)

    def ingest(
        self, order: IngestOrder, scope: Scope, *, progress: Callable[[Progress], None] | None = None
    ) -> IngestReport:
        """Ingest files, folders, objects and pages.

        :param progress: called as it goes; what it raises stops the run, and the next one completes it.
        :raises UsageError: if a path is not there or holds nothing to read.
        :raises TooExpensive: if it would cost more than `order.max_cost_usd`; nothing is spent then.
        :raises BudgetExceeded: once it is over, if a budget had no room for some documents; the others are in.
        :raises StorageError: if the disk is full; what went in stays.
        """
        started = time.perf_counter()
        allowance = None
        if order.max_cost_usd is not None:
            plan = self.plan(order, scope)
            require_affordable(plan, order.max_cost_usd)
            allowance = Allowance(order.max_cost_usd - plan.embedding.cost_usd)
        rerun = self._rerun(order, scope)
        if rerun.trees:
            with self.writing(scope):
                if quiet := rerun.at_a_glance():
                    return self._left_alone(scope, quiet, progress, started)
        mark = self._manifest.changes.mark(scope)
        listed = look(order, self._settings, self._manifest, scope)
        with self.writing(scope):
            if self._manifest.changes.mark(scope) != mark:  # what others brought in since is not in the list, nor gone
                listed = look(order, self._settings, self._manifest, scope)
            if quiet := rerun.once_listed(listed):
                report = self._left_alone(scope, quiet, progress, started)
            else:
                report = self._look_through(order, scope, listed, progress, allowance, started)
                if report.documents.unchanged == len(listed.items) and not report.documents.deleted:
                    noted = self._manifest.originals.noted(scope).keys() & {item.source for item in listed.items}
                    rerun.left_alone(Quiet(len(listed.items), report.chunks.total, sorted(noted), listed.passed_over))
        return report.model_copy(update={"passed_over": told_kinds(listed.passed_over)})

    def _rerun(self, order: IngestOrder, scope: Scope) -> Rerun:
        made_with = (self.recipe.config, self._summaries and self._summaries.name)
        return Rerun(order, scope, self._settings, self._manifest.quiet_runs, made_with)

    def _left_alone(
        self, scope: Scope, quiet: Quiet, progress: Callable[[Progress], None] | None, started: float
    ) -> IngestReport:
        """The report, where the same run found nothing to do and nothing was committed since."""
        self._applier.recover(scope)  # a change that was never committed
        number = quiet.documents
        if progress:
            progress(Progress(done=number, total=number, embedded=0))
        # of those kept, the report asks only which have lost something
        seen = Seen(documents=number, unchanged=number, unchanged_chunks=quiet.chunks, kept=set(quiet.noted))
        report = self._report(seen, Tally(), scope, started)
        return report.model_copy(update={"passed_over": told_kinds(quiet.passed_over)})

    def _look_through(
        self,
        order: IngestOrder,
        scope: Scope,
        listed: Listed,
        progress: Callable[[Progress], None] | None,
        allowance: Allowance | None,
        started: float,
    ) -> IngestReport:
        known = self._manifest.documents(scope)
        gone = listed.surely_gone(known, order, lambda: look(order, self._settings, self._manifest, scope))
        way = Way(
            gone=gone,
            lost=self._lost(scope, listed, order),
            checksum=order.checksum,
            include_expired=order.include_expired,
            allowance=allowance,
        )
        self._manifest.named_by.settle(scope, listed.naming, pruning=order.prune, gone={one.id for one in gone})
        return self._run(listed.items, known, scope, progress, way, started)

    def plan(self, order: IngestOrder, scope: Scope) -> PlanReport:
        """What `ingest` would do with the same order; index and manifest stay as they are.

        Where this machine has not yet shown how fast it embeds, and embedding costs nothing, a few of the texts are
        embedded and kept for later.
        """
        listed = look(order, self._settings, self._manifest, scope)
        gone = listed.gone(self._manifest.documents(scope), order)
        plan = self._plan(listed.items, scope, Way(gone, (), order.checksum, order.include_expired))
        return plan.model_copy(update={"passed_over": told_kinds(listed.passed_over)})

    def plan_items(self, items: Sequence[SourceItem], scope: Scope, pace: float | None = None) -> PlanReport:
        """What `ingest_items` would do; `pace` is tokens a second, where another manifest knows them."""
        return self._plan(items, scope, Way(), pace)

    def _plan(self, items: Sequence[SourceItem], scope: Scope, way: Way, pace: float | None = None) -> PlanReport:
        known = self._applier.outliner.to_do(scope, self._manifest.documents(scope))
        kept = KeptVectors(self._index, scope, among(known.values()), way.gone)
        planner = Planner(self._settings, self._encoder, self._manifest, self._cache, self._summaries, kept.vectors)
        gates = self._gates(scope, known, way)
        with self._writers.one_of_ours():
            told = planner.plan(gates, items, scope, gone=way.gone, pace=lambda some: pace or self._pace(scope, some))
        return foreseen(self._charges, scope.tenant, told)

    def _gates(
        self, scope: Scope, known: Mapping[str, DocumentRecord], way: Way, step: Callable[[], None] = lambda: None
    ) -> Gates:
        return Gates(
            scope,
            known,
            self.recipe,
            self._preparing,
            checksum=way.checksum,
            tombstones={} if way.include_expired else self._manifest.tombstones.of(scope),
            rule=self._settings.lifecycle.retention.get(scope.collection),
            step=step,
        )

    def _pace(self, scope: Scope, sample: Sequence[IdentifiedChunk]) -> float | None:
        known = self._manifest.pace(self.recipe.model)
        free = self._settings.spend.embedding_per_mtok == 0
        return self._applier.measure(scope, sample) if known is None and free else known

    def ingest_texts(
        self,
        documents: Sequence[PostedDocument],
        scope: Scope,
        *,
        progress: Callable[[Progress], None] | None = None,
        principal: str | None = None,
    ) -> IngestReport:
        """Ingest documents given as text.

        :param progress: as for `ingest`.
        :param principal: who gives them, whose budgets count too.
        :raises UsageError: if a source is empty, holds a control character or is named twice.
        """
        started = time.perf_counter()
        require_sources(documents)
        items = [document.item() for document in documents]
        with self.writing(scope):
            return self._run(items, self._manifest.documents(scope), scope, progress, Way(principal=principal), started)

    def ingest_again(self, records: Sequence[DocumentRecord], scope: Scope) -> IngestReport:
        """Ingest documents from where they came from, or from the text that was posted; those that are nowhere any
        more stay as they are.
        """
        items = [item for record in records if (item := item_again(record, self._manifest, self._settings))]
        return self.ingest_items(items, scope)

    def ingest_items(
        self,
        items: Sequence[SourceItem],
        scope: Scope,
        *,
        gone: Sequence[DocumentRecord] = (),
        progress: Callable[[Progress], None] | None = None,
    ) -> IngestReport:
        """Ingest documents that were listed already.

        :param gone: documents that go.
        :param progress: as for `ingest`.
        """
        started = time.perf_counter()
        with self.writing(scope):
            return self._run(items, self._manifest.documents(scope), scope, progress, Way(gone=gone), started)

    def forget(
        self,
        scope: Scope,
        choose: Callable[[Mapping[str, DocumentRecord]], Sequence[DocumentRecord]],
        buried: Sequence[Tombstone] = (),
    ) -> list[DocumentRecord]:
        """Remove the documents that `choose` takes of those that are there, by source; no run comes in between.

        :param buried: tombstones of those that retention takes out.
        """
        with self.writing(scope):
            self._applier.recover(scope)
            gone = list(choose(self._manifest.documents(scope)))
            self._applier.forget(scope, gone, buried)
            self._index.flush()
        return gone

    def expire(self, scope: Scope, *, dry_run: bool = False) -> list[Expiry]:
        """Remove what the collection's retention does not keep; with `dry_run` only say what that is."""
        rule = self._settings.lifecycle.retention.get(scope.collection)
        if rule is None:
            return []
        with self.writing(scope):
            going = expiries(standings(self._manifest, scope, self._encoder.dim), rule, now())
            if not dry_run:
                buried = [one for expiry in going if (one := tombstone_of(expiry, now()))]
                self.forget(scope, lambda _: [expiry.document.record for expiry in going], buried)
        return going

    def writing(self, scope: Scope) -> AbstractContextManager[None]:
        """Nobody else changes the tenant's documents during the code inside; may be nested.

        :raises IndexLocked: if another process does, and goes on doing so.
        """
        return self._writers.turn(scope.tenant)

    def recover(self, scope: Scope) -> None:
        """Finish, or undo, what a stop left half done."""
        self._applier.recover(scope)

    def remembered(self, scope: Scope, hashes: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors that the embedding cache has, by what was embedded; (dim,) float32 each."""
        return self._cache.get(self._applier.partition(scope), hashes)

    def close(self) -> None:
        """Let go of the ledger; what it was made of stays open."""
        self._charges.close()

    def _lost(self, scope: Scope, listed: Listed, order: IngestOrder) -> list[Tombstone]:
        """Tombstones of documents that are nowhere under the paths any more, or that no list names any more."""
        tombstones = self._manifest.tombstones.of(scope)
        if not tombstones:
            return []
        roots = [location_of(path, order.cwd.resolve()) for path in order.paths]
        present = {item.source for item in listed.items}
        unnamed = listed.naming.unnamed if order.prune else frozenset()
        return without_source(tombstones, present, roots, unnamed, pruning=order.prune)

    def _run(
        self,
        items: Sequence[SourceItem],
        known: Mapping[str, DocumentRecord],
        scope: Scope,
        progress: Callable[[Progress], None] | None,
        way: Way,
        started: float,
    ) -> IngestReport:
        seen, tally = self._bring_in(items, known, scope, progress, way)
        failed = {one.source for one in [*seen.errors, *seen.vanished]}
        replaced = replaced_by(items, known, failed=failed.union(tally.waiting))
        report = self._report(seen, tally, scope, started).model_copy(update={"replaced": replaced})
        if tally.refused:
            raise told_waiting(tally.refused, tally.waiting, report)
        return report

    def _report(self, seen: Seen, tally: Tally, scope: Scope, started: float) -> IngestReport:
        settings = self._settings
        noted = self._manifest.originals.noted(scope)
        seconds = time.perf_counter() - started
        return report_of(seen, tally, noted, settings.spend, settings.outline.summary_model, seconds)

    def _bring_in(
        self,
        items: Sequence[SourceItem],
        known: Mapping[str, DocumentRecord],
        scope: Scope,
        progress: Callable[[Progress], None] | None,
        way: Way,
    ) -> tuple[Seen, Tally]:
        self._applier.recover(scope)
        tally = Tally()
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            if progress:
                progress(Progress(done=done, total=len(items), embedded=tally.paid.embedded))

        known = self._applier.outliner.to_do(scope, known)
        gates = self._gates(scope, known, way, step)
        posted = {item.source: item for item in items if item.location is None}
        changes = self._admitted(gates, items, scope, way.gone)
        kept = KeptVectors(self._index, scope, among(known.values()), way.gone)
        with (
            RunCharges(self._charges, scope, way.principal) as charges,
            Writing(self._applier, scope, way.allowance) as writing,
        ):
            affording = Affording(self._applier, self._manifest, scope, charges, kept, posted)
            for batch in batches(changes, self._settings.ingestion.batch_chunks):
                for embedded in affording.embedded(batch):
                    writing.put(embedded)
                    tally.add(embedded)
                if progress:
                    progress(Progress(done=done, total=len(items), embedded=tally.paid.embedded))
        tally.waiting, tally.refused = affording.waiting, affording.refused
        tally.paid += Paid(summaries=writing.summaries)
        self._manifest.commit(scope, gates.seen.touched)
        for record in gates.seen.touched:
            if record.source in posted:
                self._manifest.originals.add_text(record.id, record.generation, posted[record.source])
        if tally.paid.embedded_tokens >= _PACE_TOKENS:
            self._manifest.note_pace(self.recipe.model, tally.paid.embedded_tokens / tally.paid.embedded_s)
        self._manifest.tombstones.keep(scope, gates.seen.reburied)
        self._manifest.tombstones.drop([one.document_id for one in way.lost])
        if tally.waiting:  # what one that goes has in common with one that waits stays paid for
            self._applier.keep(scope, way.gone)
        self._applier.forget(scope, way.gone)
        tally.deleted = len(way.gone)
        tally.dropped += sum(len(record.chunks) for record in way.gone)
        tally.expired = self.expire(scope)
        self._index.flush()
        return gates.seen, tally

    def _admitted(
        self, gates: Gates, items: Sequence[SourceItem], scope: Scope, gone: Sequence[DocumentRecord]
    ) -> Iterator[Change]:
        """The changes that the tenant's quota allows; the others are noted as failed, and nothing of them goes in."""
        limits, dim = self._settings.lifecycle.quota, self._encoder.dim
        return admitted(gates.changes(items), gates.seen, limits, self._manifest, scope, gone, vector_bytes(1, dim))
