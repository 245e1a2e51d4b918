"""A worker: Celery brings the messages, threads do the work, and SIGTERM hands back what has not begun.

Threads, because a model's session does not survive a fork: an embedding worker that forks is refused. Converters need
no process for each thread either: parsers run in guarded processes already.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragsaver.errors import SettingsError
from ragsaver.index.ownership import APPLIES, SERVES, current_owner
from ragsaver.index.store import current_store
from ragsaver.ingestion.jobs import JobStore
from ragsaver.pipelines.live import LiveRuntime, open_live
from ragsaver.pipelines.succession import Succession
from ragsaver.settings import Settings
from ragsaver.settings_file import load_settings
from ragsaver.workers.app import CONVERT, EMBED, known_queues, make_app, task_name
from ragsaver.workers.broker import Broker
from ragsaver.workers.draining import Drainer
from ragsaver.workers.hands import Hands, K
from ragsaver.workers.queueing import open_jobs
from ragsaver.workers.stages import Worker
from ragsaver.workers.tending import Tender

if TYPE_CHECKING:
    from celery import Celery

_FORKS = "prefork"
_OTHERS_END_S = 60.0
_LOOK_AGAIN_S = 0.1


def add_tasks(app: "Celery", settings: Settings, hands: Hands[K]) -> None:
    """Give the app its two tasks, and refuse a pool that forks where it embeds."""
    from celery import bootsteps
    from celery_batches import Batches

    def convert(document_id: str) -> None:
        with hands.stages() as stages:
            stages.converting.convert(document_id)

    def embed(requests: Sequence[Any]) -> None:
        with hands.stages() as stages:
            stages.embedding.embed([request.args[0] for request in requests])

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
        jobs = open_jobs(settings)
        opened.callback(jobs.close)
        if apply:
            live = opened.enter_context(_owning(settings))
            succession = Succession(live, stopping)
            succession.start()
            opened.callback(succession.join)
            hands: Hands[Any] = Hands(live.use, lambda runtime: Worker.of_runtime(runtime, broker, stopping))
            drain = _drain_of(live, jobs, stopping)
        else:
            hands = hands_of_its_own(settings, broker, stopping)
            drain = None
        opened.callback(hands.close)
        with hands.stages():
            pass  # so that a model that is not there is told now
        add_tasks(app, settings, hands)
        limits = settings.queue
        tender = Tender(
            jobs, broker, stopping, lease_s=limits.visibility_timeout_s, every_s=limits.look_every_s, drain=drain
        )
        tender.start()
        opened.callback(tender.join)
        opened.callback(stopping.set)
        return _run(app, settings, wanted, concurrency, stopping, ready)


def hands_of_its_own(settings: Settings, broker: Broker, stopping: threading.Event) -> Hands[Path]:
    """Hands without the index; after a migration, by the settings as they are then."""
    home = settings.home

    def open_worker(store: Path) -> Worker:
        return Worker.of_its_own(settings if store == first else load_settings(), store, broker, stopping)

    first = current_store(home)
    return Hands(lambda: nullcontext(current_store(home)), open_worker)


def _drain_of(live: LiveRuntime, jobs: JobStore, stopping: threading.Event) -> Callable[[], int]:
    def drain() -> int:
        with live.write() as runtime:
            return Drainer(runtime, jobs).drain(stopping.is_set)

    return drain


def _owning(settings: Settings) -> AbstractContextManager[LiveRuntime]:
    """Own the index; where a command has it, wait for its end for a while."""
    deadline = time.monotonic() + _OTHERS_END_S
    while True:
        owner = current_owner(settings.home)
        if owner is None or owner.role == SERVES or time.monotonic() > deadline:
            return open_live(settings, APPLIES)
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
