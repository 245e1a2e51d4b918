"""A worker: Celery brings the messages, threads do the work, and SIGTERM hands back what has not begun.

Threads, because a model's session does not survive a fork: an embedding worker that forks is refused. Converters need
no process for each thread either: parsers run in guarded processes already.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ragsaver.errors import SettingsError
from ragsaver.index.ownership import SERVES, current_owner
from ragsaver.index.upkeep import upkeep
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings
from ragsaver.workers.app import CONVERT, EMBED, known_queues, make_app, task_name
from ragsaver.workers.broker import Broker
from ragsaver.workers.converting import Converting
from ragsaver.workers.draining import Drainer
from ragsaver.workers.embedding import Embedding
from ragsaver.workers.stages import Worker
from ragsaver.workers.tending import Tender

if TYPE_CHECKING:
    from celery import Celery

ROLE = "ragsaver worker --apply"
_FORKS = "prefork"
_OTHERS_END_S = 60.0
_LOOK_AGAIN_S = 0.1


class Hands:
    """The stages of one process, opened with its first task, so that nothing is opened before a fork."""

    def __init__(self, open_worker: Callable[[], Worker]) -> None:
        self._open_worker = open_worker
        self._opening = threading.Lock()

    @property
    def converting(self) -> Converting:
        """The first stage."""
        with self._opening:
            return self._converting

    @property
    def embedding(self) -> Embedding:
        """The second stage."""
        with self._opening:
            return self._embedding

    @cached_property
    def _worker(self) -> Worker:
        return self._open_worker()

    @cached_property
    def _converting(self) -> Converting:
        return Converting(self._worker)

    @cached_property
    def _embedding(self) -> Embedding:
        return Embedding(self._worker)

    def close(self) -> None:
        """End the guarded processes."""
        if "_converting" in self.__dict__:
            self._converting.close()


def add_tasks(app: "Celery", settings: Settings, hands: Hands) -> None:
    """Give the app its two tasks, and refuse a pool that forks where it embeds."""
    from celery import bootsteps
    from celery_batches import Batches

    def convert() -> None:
        hands.converting.convert()

    def embed(requests: Sequence[Any]) -> None:
        hands.embedding.embed(len(requests))

    app.task(convert, name=task_name(CONVERT))
    app.task(
        embed,
        name=task_name(EMBED),
        base=Batches,
        flush_every=settings.queue.embed_batch_documents,
        flush_interval=settings.queue.embed_wait_ms / 1000,
    )

    class RefuseForks(bootsteps.Step):  # type: ignore[misc]
        """No embedding in a process that was forked."""

        def __init__(self, parent: Any, **kwargs: Any) -> None:
            queues = parent.app.amqp.queues.consume_from
            if EMBED in queues and parent.pool_cls.__module__.endswith(f".{_FORKS}"):
                raise SystemExit(f"ragsaver: {_refused()}")
            super().__init__(parent, **kwargs)

    app.steps["worker"].add(RefuseForks)


def run_worker(
    settings: Settings, queues: Sequence[str], concurrency: int, *, apply: bool, ready: Callable[[], None]
) -> int:
    """Work until SIGTERM or SIGINT; the exit code.

    :param concurrency: documents at a time.
    :param apply: own the index too, and bring in what is embedded.
    :param ready: called once the worker takes messages.
    :raises SettingsError: if a queue is none, or no broker is named.
    :raises IndexLocked: if `apply` and another process owns the index.
    """
    wanted = known_queues(queues)
    app = make_app(settings)
    stopping = threading.Event()
    broker = Broker(settings, app)
    broker.check()
    with ExitStack() as opened:
        if apply:
            runtime = opened.enter_context(_owning(settings))
            opened.enter_context(upkeep(lambda: runtime.index))
            worker = Worker.of_runtime(runtime, broker, stopping)
            drainer = Drainer(runtime, worker.jobs)
            drain = lambda: drainer.drain(stopping.is_set)  # noqa: E731
        else:
            worker = Worker.of_its_own(settings, broker, stopping)
            drain = None
        hands = Hands(lambda: worker)
        opened.callback(worker.jobs.close)
        opened.callback(hands.close)
        add_tasks(app, settings, hands)
        tender = Tender(worker.jobs, broker, stopping, settings.queue, drain=drain)
        tender.start()
        opened.callback(tender.join)
        opened.callback(stopping.set)
        return _run(app, settings, wanted, concurrency, stopping, ready)


def _owning(settings: Settings) -> AbstractContextManager[Runtime]:
    """Own the index; where a command has it, wait for its end for a while."""
    deadline = time.monotonic() + _OTHERS_END_S
    while True:
        owner = current_owner(settings.home)
        if owner is None or owner.role == SERVES or time.monotonic() > deadline:
            return open_runtime(settings, ROLE)
        time.sleep(_LOOK_AGAIN_S)


def _run(
    app: "Celery",
    settings: Settings,
    queues: Sequence[str],
    concurrency: int,
    stopping: threading.Event,
    ready: Callable[[], None],
) -> int:
    from celery import signals

    def is_ready(**_: Any) -> None:
        ready()

    def is_stopping(**_: Any) -> None:
        stopping.set()

    signals.worker_ready.connect(is_ready, weak=False)
    signals.worker_shutting_down.connect(is_stopping, weak=False)
    celery = app.Worker(
        queues=list(queues),
        pool="threads",
        concurrency=concurrency,
        prefetch_multiplier=_prefetch(queues, concurrency, settings.queue.embed_batch_documents),
        quiet=True,
        loglevel=logging.WARNING,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    celery.start()
    return int(celery.exitcode or 0)


def _prefetch(queues: Sequence[str], concurrency: int, batch: int) -> int:
    """Messages taken for each thread: one, or as many as make a batch of documents to embed."""
    return max(1, math.ceil(batch / concurrency)) if EMBED in queues else 1


def _refused() -> SettingsError:
    return SettingsError(
        f"a worker of the queue `{EMBED}` can't run in the pool `{_FORKS}`: a model's session does not survive a fork",
        where="--pool",
        remedy="Start it with `--pool threads` or `--pool solo`; `ragsaver worker` does",
    )
