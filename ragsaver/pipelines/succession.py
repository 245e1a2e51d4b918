"""`ragsaver migrate` has built a new half: the process that owns the old one moves to it while it runs.

It reads its own settings again and takes the half only if they mean it: started again, it must find what it left. The
new half is opened and warmed up beside the old one, whatever came in meanwhile is brought over while nothing else is
written, and one write of a pointer decides. Before it the old half serves, in this process and in the next one; after
it the new one does.

An index in a server is nobody's: `ragsaver migrate` puts the new half in place by itself, and each process that has the
old one open moves to it within seconds.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ragsaver.errors import RUN_AGAIN, IndexLocked, RagSaverError, SettingsError, Stopped, StorageError
from ragsaver.index.store import current_store
from ragsaver.ingestion.following import Follower, too_many_missing, without_limits
from ragsaver.ingestion.half import Building, Half, Ready, refuse, waits_for_owner
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.migrating import holding
from ragsaver.ingestion.migration_report import RunTally
from ragsaver.ingestion.opening import note_in_use
from ragsaver.ingestion.replaced import remove_replaced
from ragsaver.ingestion.report import Progress
from ragsaver.ingestion.summarising import open_summaries
from ragsaver.models.batching import BatchObserver
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.moving_along import MovingAlong, encoder_for, leave, taken_over
from ragsaver.pipelines.runtime import Runtime
from ragsaver.settings import Settings
from ragsaver.settings_file import load_settings

_LOOK_S = 0.5

_log = logging.getLogger(__name__)


class Succession:
    """A thread that looks for a new half until it is told to stop.

    :param live: moves to it.
    :param stopping: ends it.
    :param reload: gives the settings as this process would be started with now.
    :param on_batch: told of each batch of documents that a new model embeds.
    """

    def __init__(
        self,
        live: LiveRuntime,
        stopping: threading.Event,
        reload: Callable[[], Settings] = load_settings,
        on_batch: BatchObserver | None = None,
    ) -> None:
        self._live = live
        self._home = live.settings.home
        self._stopping = stopping
        self._reload = reload
        self._on_batch = on_batch
        shared = live.settings.index.shared
        self._among_others = MovingAlong(live, stopping, reload, on_batch) if shared else None
        self._thread = threading.Thread(target=self._go, name="succession", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def join(self) -> None:
        """Wait for its end; the caller has told it to stop."""
        if self._thread.is_alive():
            self._thread.join()

    def _go(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            try:
                if self._among_others is not None:
                    self._among_others.look()
                elif waits_for_owner(self._home):
                    self._look()
            except Exception:
                _log.exception("a new index was not looked at")

    def _look(self) -> None:
        try:
            with holding(self._live.settings):
                old = self._take()
        except IndexLocked:
            return  # it is worked on: later
        except Stopped:
            return  # the next start, or `ragsaver migrate`, goes on
        except RagSaverError as error:
            _log.warning("the new index is not taken: %s", error)
            refuse(self._home, str(error))
            return
        except Exception as error:
            _log.exception("the new index is not taken")
            refuse(self._home, f"it failed: {error}. Its log says more")
            return
        _log.info("the new index is in use")
        self._leave(old)

    def _take(self) -> Runtime:
        """Move to the half, whose lock this process holds; gives the runtime that was in use."""
        with self._live.use() as old:
            settings = taken_over(old.settings, self._reload())
            encoder = encoder_for(settings, old, self._on_batch)
            half = Half(settings, Building.of(settings, encoder))
            ready = half.ready()
            if ready is None:
                raise SettingsError(
                    "its own settings mean another index than the one that was built",
                    remedy="Give it the same `ragsaver.yaml` and RAGSAVER_* variables as `ragsaver migrate`: stop it "
                    "and start it again where its environment differs, else run `ragsaver migrate` once more",
                )
            new = Runtime.on(half.folder, settings, encoder, old.ownership)
        try:
            new.prepare()
            return self._live.replace(new, lambda old: self._complete(old, new, half, ready))
        except BaseException:
            new.close()
            raise

    def _complete(self, old: Runtime, new: Runtime, half: Half, ready: Ready) -> None:
        """Nobody writes the old half now: bring what came in meanwhile, and switch."""
        if old.manifest.state() != ready.state:
            half.mark_unready()
            tally = RunTally()
            with _follower(new) as follower:
                state = follower.follow(old.manifest, tally, self._go_on)
            half.mark_ready(Ready(state, ready.drop_missing))
            waiting = too_many_missing(tally, ready.drop_missing)
            if waiting:
                raise RagSaverError(waiting)
        half.take_over(old.manifest)

    def _go_on(self, _: Progress) -> None:
        if self._stopping.is_set():
            raise Stopped("the process was told to stop", remedy=RUN_AGAIN)

    def _leave(self, old: Runtime) -> None:
        self._note_in_use()
        if leave(self._live, old, self._stopping):
            remove_replaced(self._live.settings)

    def _note_in_use(self) -> None:
        try:
            note_in_use(self._live.settings, current_store(self._home))
        except StorageError as error:  # the next start notes it; until then others see the old manifest
            _log.warning("workers on other machines do not know of the new index yet: %s", error)


@contextmanager
def _follower(new: Runtime) -> Iterator[Follower]:
    settings = without_limits(new.settings)
    summaries = open_summaries(settings, None)  # nobody is asked while writers wait
    ingestor = Ingestor(
        settings, new.index, new.encoder, new.manifest, new.embeddings, new.preparing, summaries=summaries
    )
    try:
        yield Follower(settings, new.manifest, ingestor, summaries)
    finally:
        ingestor.close()
        if summaries is not None:
            summaries.close()
