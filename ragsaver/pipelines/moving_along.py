"""`ragsaver migrate` has put a new half of a server's index in place: a process that has the old one open moves to it.

Until it has, it answers from the old one, which stays for `index.keep_replaced_s`, with the model that this was built
with; what it would write, it brings into the new one. A question is asked one collection only, by the model of that.
"""

import logging
import threading
import time
from collections.abc import Callable

from ragsaver.database import Place
from ragsaver.errors import ModelMismatch, RagSaverError, SettingsError
from ragsaver.index.generation import generation_at
from ragsaver.index.manifest_place import place_in_use
from ragsaver.index.store import current_store
from ragsaver.ingestion.half import Building, bring_uses
from ragsaver.ingestion.replaced import remove_when_due
from ragsaver.models.batching import BatchObserver
from ragsaver.models.protocol import Encoder
from ragsaver.models.registry import load_encoder
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime
from ragsaver.settings import Settings

# A database is not asked as often as a file.
_ASK_EVERY_S = 2.0
# What is left of a migration is looked for so often.
_CLEAN_EVERY_S = 30.0

_log = logging.getLogger(__name__)


class MovingAlong:
    """Looks which half is in use, and moves there.

    :param live: moves.
    :param stopping: ends the wait for what runs on the old half.
    :param reload: gives the settings as this process would be started with now.
    :param on_batch: told of each batch of documents that a new model embeds.
    """

    def __init__(
        self,
        live: LiveRuntime,
        stopping: threading.Event,
        reload: Callable[[], Settings],
        on_batch: BatchObserver | None,
    ) -> None:
        self._live = live
        self._stopping = stopping
        self._reload = reload
        self._on_batch = on_batch
        self._unfit: tuple[Place, Settings] | None = None
        self._said = ""
        self._ask_at = self._clean_at = 0.0

    def look(self) -> None:
        """Move if another half is in use; remove what was replaced, once nobody has it open."""
        now = time.monotonic()
        if now < self._ask_at:
            return
        settings = self._live.settings
        self._ask_at = now + (0.0 if settings.database.url is None else _ASK_EVERY_S)
        in_use = place_in_use(settings)
        with self._live.use() as old:
            moved = old.manifest.place != in_use and self._moved_from(old, in_use)
        if moved:
            _log.info("the new index is in use")
            leave(self._live, old, self._stopping)
        if now >= self._clean_at and remove_when_due(settings):
            self._clean_at = now + _CLEAN_EVERY_S

    def _moved_from(self, old: Runtime, in_use: Place) -> bool:
        """Whether it moved. Where the settings don't fit, it is tried again once somebody has mended them."""
        try:
            fresh = self._reload()
            if (in_use, fresh) == self._unfit:
                return False
            new = self._opened(taken_over(old.settings, fresh), old, in_use)
        except RagSaverError as error:
            if isinstance(error, SettingsError | ModelMismatch):
                self._unfit = (in_use, fresh)
            if str(error) != self._said:
                _log.warning("another index is in use; this process goes on with the old one for now: %s", error)
            self._said = str(error)
            return False
        self._live.replace(new, lambda runtime: None)
        self._unfit, self._said = None, ""
        return True

    def _opened(self, settings: Settings, old: Runtime, in_use: Place) -> Runtime:
        encoder = encoder_for(settings, old, self._on_batch)
        generation = generation_at(in_use)
        if generation is not None and generation.built != Building.of(settings, encoder).text():
            raise SettingsError(
                "its own settings mean another index than the one that was built",
                remedy="Give it the same `ragsaver.yaml` and RAGSAVER_* variables as `ragsaver migrate`: stop it and "
                "start it again where its environment differs",
            )
        new = Runtime.on(current_store(settings.home), settings, encoder, old.ownership)
        try:
            new.prepare()
        except BaseException:
            new.close()
            raise
        return new


def taken_over(old: Settings, fresh: Settings) -> Settings:
    """Settings read again; what a process is started with stays.

    :raises SettingsError: if they are for another home.
    """
    if fresh.home != old.home:
        raise SettingsError(
            f"its own settings name another home now: {fresh.home}", remedy="Stop it and start it again"
        )
    return fresh.model_copy(update={"server": old.server, "queue": old.queue})


def encoder_for(settings: Settings, old: Runtime, on_batch: BatchObserver | None) -> Encoder:
    """The model that the settings name; the one in use if it is the same, so that none is open twice."""
    encoder = load_encoder(settings.embedding, on_batch)
    same = settings.embedding == old.settings.embedding and encoder.fingerprint == old.encoder.fingerprint
    return old.encoder if same else encoder


def leave(live: LiveRuntime, old: Runtime, stopping: threading.Event) -> bool:
    """Wait until nothing runs on a runtime that was replaced, then close it; whether it is closed."""

    def last() -> None:
        old.resources.uses.close()
        with live.use() as new:
            bring_uses(old.manifest, new.manifest)

    old.index.stop_optimising()
    return live.let_go(old, last, stopping)
