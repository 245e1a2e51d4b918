"""Another model or chunker: build a new index and manifest beside the old ones, then put them in their place.

The old ones serve until the switch. A half that was left is completed by the next run with the same settings, and
removed where the settings have changed again. The embedding cache is shared, so that no text is paid for twice.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock

from ragsaver.caching.embeddings import EmbeddingCache
from ragsaver.caching.opening import open_embedding_cache
from ragsaver.errors import IndexLocked, TooExpensive, UsageError
from ragsaver.index.generation import settings_at
from ragsaver.index.identity import OF_WORDS, IndexIdentity
from ragsaver.index.manifest_place import place_in_use
from ragsaver.index.opening import identity_of, open_edge
from ragsaver.index.ownership import Ownership
from ragsaver.index.protocol import VectorIndex
from ragsaver.index.store import current_store
from ragsaver.ingestion.applying import Step
from ragsaver.ingestion.following import Follower, Tell, items_again, too_many_missing, without_limits
from ragsaver.ingestion.gates import Preparing
from ragsaver.ingestion.half import Building, Half, Ready, manifest_in_use
from ragsaver.ingestion.handing_over import hand_over
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.manifest import Manifest
from ragsaver.ingestion.migrating import hold, holding
from ragsaver.ingestion.migration_report import MigrationPlan, MigrationReport, PlanTally, RunTally
from ragsaver.ingestion.replaced import remove_replaced
from ragsaver.ingestion.summarising import Summaries, open_summaries
from ragsaver.ingestion.verify import STALE
from ragsaver.ingestion.writers import turns
from ragsaver.models.protocol import Encoder
from ragsaver.settings import Settings

ROLE = "ragsaver migrate"

_NOTHING = "the index is as the settings say: there is nothing to do"


class Migration:
    """One migration under way. Made by `open_migration`."""

    def __init__(
        self,
        settings: Settings,
        encoder: Encoder,
        cache: EmbeddingCache,
        lock: FileLock,
        preparing: Preparing | None,
        fault: Callable[[Step], None],
        summaries: Summaries | None,
    ) -> None:
        self._settings = without_limits(settings)
        self._home = settings.home
        self._encoder = encoder
        self._cache = cache
        self._lock = lock
        self._preparing = preparing
        self._fault = fault
        self._summaries = summaries
        self._building = Building.of(settings, encoder)
        self._half = Half(settings, self._building)

    def reason(self) -> str | None:
        """Why a new index is needed; None if it is not.

        :raises UsageError: if there is no index yet.
        """
        found, wanted = self._found(), self._building.identity
        if found is None:
            raise UsageError(
                "there is no index yet",
                where=str(self._home),
                remedy="`ragsaver ingest` builds one as the settings say",
            )
        if (found.fingerprint, found.dim) != (wanted.fingerprint, wanted.dim):
            old, new = (f"`{one.model_name}` ({one.fingerprint[:12]})" for one in (found, wanted))
            return f"from model {old} to {new}"
        if found != wanted:
            return f"{OF_WORDS} or the index's format is another"
        with manifest_in_use(self._settings) as old_manifest:
            configs = [one.config for scope in old_manifest.scopes() for one in old_manifest.documents(scope).values()]
        otherwise = sum(config not in (self._building.config, STALE) for config in configs)
        return f"{otherwise} of {len(configs)} documents are cut by other settings" if otherwise else None

    def plan(self) -> MigrationPlan:
        """What it would take; nothing is left behind but a few texts in the embedding cache."""
        reason = self.reason()
        if reason is None:
            return MigrationPlan()
        tally = PlanTally()
        with manifest_in_use(self._settings) as old, self._for_planning() as (new, ingestor):
            for scope in old.scopes():
                records, known = old.documents(scope), new.documents(scope)
                items = items_again(records, old, self._settings)
                lost = records.keys() - {item.source for item in items} - known.keys()
                plan = ingestor.plan_items(items, scope, old.pace(ingestor.recipe.model))
                tally.add(len(records), plan, sorted(lost))
        return tally.plan(reason)

    def run(
        self,
        *,
        max_cost_usd: Decimal | None = None,
        drop_missing: bool = False,
        progress: Tell | None = None,
        waits: Callable[[str], None] = lambda what: None,
    ) -> MigrationReport:
        """Build, or complete, the new half, and switch to it; where a server owns the old one, let that switch.

        :param drop_missing: switch although some documents can't be read any more.
        :param progress: called as it goes; what it raises stops the run, and the next one completes it.
        :param waits: called with what is waited for.
        :raises TooExpensive: before anything is spent.
        :raises BudgetExceeded: if a budget has no room for all of it: the old index stays in use, and the next run
            completes the new one.
        :raises IndexLocked: if another migration has begun while this one waited.
        """
        started = time.perf_counter()
        reason = self.reason()
        if reason is None:
            self._half.remove()
            return MigrationReport(waiting=_NOTHING)
        if max_cost_usd is not None:
            _require_affordable(self.plan(), max_cost_usd)
        tally = RunTally()
        with manifest_in_use(self._settings) as old:
            waiting = self._build(old, tally, drop_missing, progress)
        if waiting is None:
            waiting = self._switch(tally, drop_missing, progress, waits)
        return tally.report(reason, waiting, time.perf_counter() - started)

    def abort(self) -> bool:
        """Remove the new half; true if there was one."""
        return self._half.remove()

    def _found(self) -> IndexIdentity | None:
        """What the index in use was built with."""
        index = self._settings.index
        if index.engine != "edge":
            index = settings_at(index, place_in_use(self._settings))
        return identity_of(current_store(self._home), index)

    @contextmanager
    def _for_planning(self) -> Iterator[tuple[Manifest, Ingestor]]:
        """The way into the half as far as it is built; into an empty one of no duration where none of this kind is
        there, which leaves nothing behind and so is embedded, with its manifest in a file.
        """
        if self._half.begun():
            with self._opened() as opened:
                yield opened
            return
        with (
            TemporaryDirectory(dir=self._home, prefix="plan-") as empty,
            closing(open_edge(Path(empty), self._settings.index, self._building.identity)) as index,
            closing(Manifest(Path(empty) / "manifest.sqlite")) as manifest,
            closing(self._ingestor(manifest, index)) as ingestor,
        ):
            yield manifest, ingestor

    @contextmanager
    def _opened(self) -> Iterator[tuple[Manifest, Ingestor]]:
        """The half, and the way into it."""
        with (
            self._half.opened(self._building.identity) as (manifest, index),
            closing(self._ingestor(manifest, index)) as ingestor,
        ):
            yield manifest, ingestor

    def _ingestor(self, manifest: Manifest, index: VectorIndex) -> Ingestor:
        return Ingestor(
            self._settings,
            index,
            self._encoder,
            manifest,
            self._cache,
            self._preparing,
            self._fault,
            summaries=self._summaries,
        )

    def _build(self, old: Manifest, tally: RunTally, drop_missing: bool, progress: Tell | None) -> str | None:
        """Bring the half to where the old manifest is; says why it may not be used."""
        self._half.begin()
        with self._opened() as (new, ingestor):
            state = Follower(self._settings, new, ingestor, self._summaries).follow(old, tally, progress)
        waiting = too_many_missing(tally, drop_missing)
        if waiting is None:
            self._half.mark_ready(Ready(state, drop_missing))
        return waiting

    def _switch(
        self, tally: RunTally, drop_missing: bool, progress: Tell | None, waits: Callable[[str], None]
    ) -> str | None:
        """Have the half put in the old one's place. Where that can't be yet, says why and what to do."""
        if self._settings.index.shared:
            return self._switch_among_others(tally, drop_missing, progress, waits)
        waiting: str | None = None
        while waiting is None and not self._half.in_use():
            try:
                ownership = Ownership.acquire(self._home, ROLE)
            except IndexLocked:
                self._lock.release()  # the owner takes the half, and must hold it for that
                waiting = hand_over(self._settings, self._half, waits)
                continue
            try:
                if not self._half.in_use():  # else an owner took it and ended
                    waiting = self._switch_alone(tally, drop_missing, progress)
            finally:
                ownership.release()
        return waiting

    def _switch_among_others(
        self, tally: RunTally, drop_missing: bool, progress: Tell | None, waits: Callable[[str], None]
    ) -> str | None:
        """Switch an index that nobody owns while nobody writes it; others find out, and what they have open stays."""
        waits("the new index is ready; it is put in place once nobody writes the old one")
        with (
            closing(turns(self._settings, current_store(self._home))) as writers,
            writers.everybody() as still,
            manifest_in_use(self._settings) as old,
        ):
            return self._take_over(old, tally, drop_missing, progress, still)

    def _switch_alone(self, tally: RunTally, drop_missing: bool, progress: Tell | None) -> str | None:
        """Switch here: this process owns both."""
        if not self._lock.is_locked:
            hold(self._lock)
        with manifest_in_use(self._settings) as old:
            waiting = self._take_over(old, tally, drop_missing, progress)
        if waiting is None:
            remove_replaced(self._settings)
        return waiting

    def _take_over(
        self,
        old: Manifest,
        tally: RunTally,
        drop_missing: bool,
        progress: Tell | None,
        still: Callable[[], None] = lambda: None,
    ) -> str | None:
        """Put the half in place; nobody writes the old one now."""
        waiting = None
        ready = self._half.ready()
        if ready is None or ready.state != old.state():  # this pass is the last one
            waiting = self._build(old, tally, drop_missing, progress)
        if waiting is None:
            self._half.take_over(old, still)
        return waiting


@contextmanager
def open_migration(
    settings: Settings,
    encoder: Encoder,
    preparing: Preparing | None = None,
    fault: Callable[[Step], None] = lambda step: None,
) -> Iterator[Migration]:
    """Hold the lock of the new half for the code inside; the old one may be owned by another process.

    :param preparing: where documents are cut; in this process if None.
    :param fault: called with each step of the ingestion; tests stop the run there.
    :raises IndexLocked: if another migration is under way.
    """
    with holding(settings) as lock:
        cache = open_embedding_cache(settings.home, settings.embedding_cache)
        # Nobody is asked: what is not summarised yet, the first ingestion after the switch summarises.
        summaries = open_summaries(settings, None)
        try:
            yield Migration(settings, encoder, cache, lock, preparing, fault, summaries)
        finally:
            cache.close()
            if summaries is not None:
                summaries.close()


def _require_affordable(plan: MigrationPlan, max_cost_usd: Decimal) -> None:
    if plan.embedding.cost_usd > max_cost_usd:
        raise TooExpensive(
            f"embedding {plan.embedding.tokens} tokens would cost ${plan.embedding.cost_usd:.4f}, "
            f"${max_cost_usd:.4f} are allowed",
            remedy="Raise --max-cost: `ragsaver migrate --plan` shows what it takes",
        )
