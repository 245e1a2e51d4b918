"""A worker: Celery brings the messages, threads do the work, and SIGTERM hands back what has not begun.

Threads, because a model's session does not survive a fork. Converters need no process for each thread either: parsers
run in guarded processes already.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ragsaver.index.ownership import APPLIES, SERVES, current_owner
from ragsaver.index.upkeep import upkeep
from ragsaver.ingestion.jobs import JobStore
from ragsaver.models.batching import BatchObserver
from ragsaver.pipelines.live import LiveRuntime, open_live
from ragsaver.pipelines.succession import Succession
from ragsaver.settings import Settings
from ragsaver.workers.app import EMBED, known_queues, make_app
from ragsaver.workers.backlog import Backlog
from ragsaver.workers.broker import Broker
from ragsaver.workers.draining import Drainer
from ragsaver.workers.exposing import exposed
from ragsaver.workers.gpu import GpuReading, nvidia_reader
from ragsaver.workers.hands import Hands, hands_of_its_own
from ragsaver.workers.metrics import IngestionMetrics
from ragsaver.workers.moves import Moved, Tally
from ragsaver.workers.price_reading import PriceReading, upper_charges
from ragsaver.workers.queueing import open_jobs
from ragsaver.workers.readings import QueueReading, ThreadsReading
from ragsaver.workers.scaling import Policy
from ragsaver.workers.stages import Worker
from ragsaver.workers.tasks import add_tasks
from ragsaver.workers.tending import Tender

if TYPE_CHECKING:
    from celery import Celery

_OTHERS_END_S = 60.0
_LOOK_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Told:
    """Who is told what of a worker.

    :ivar ready: called once it takes messages.
    :ivar metrics_port: where Prometheus asks; 0 takes a free one, None tells nobody.
    :ivar metrics_at: called with the URL where it asks.
    """

    ready: Callable[[], None]
    metrics_port: int | None = None
    metrics_at: Callable[[str], None] = lambda url: None


def run_worker(
    settings: Settings,
    queues: Sequence[str],
    concurrency: int,
    *,
    apply: bool,
    told: Told,
    autoscale: Policy | None = None,
) -> int:
    """Work until SIGTERM or SIGINT; the exit code.

    :param concurrency: documents at a time, or batches of them.
    :param apply: own the index too, unless it is in a server, and bring in what is embedded.
    :param autoscale: decides how many at a time, instead of `concurrency`.
    :raises SettingsError: if a queue is none, or no broker is named.
    :raises UsageError: if the metrics can't be told at their port.
    :raises IndexLocked: if `apply` and another process owns the index.
    """
    wanted = known_queues(queues)
    app = make_app(settings)
    stopping = threading.Event()
    broker = Broker(settings, app)
    broker.check()
    metrics = IngestionMetrics.of_process()
    tally = Tally(metrics.document)
    with ExitStack() as opened:
        jobs = open_jobs(settings)
        opened.callback(jobs.close)
        drain: Callable[[], int] | None = None
        live: LiveRuntime | None = None
        if apply:
            live = opened.enter_context(_owning(settings, metrics.batch))
            opened.enter_context(upkeep(lambda: live.index))
            succession = Succession(live, stopping, on_batch=metrics.batch)
            succession.start()
            opened.callback(succession.join)
            opened.callback(stopping.set)  # also where the rest of the start fails
            hands: Hands[Any] = Hands(live.use, lambda runtime: Worker.of_runtime(runtime, broker, stopping, tally))
            drain = partial(_drain, live, jobs, metrics.document, stopping)
        else:
            hands = hands_of_its_own(settings, broker, stopping, metrics.batch, tally)
        opened.callback(hands.close)
        with hands.stages():
            pass  # so that a model that is not there is told now
        add_tasks(app, settings, hands)
        if autoscale is not None:
            from ragsaver.workers.autoscaler import QueueAutoscaler, QueueWatch

            # it asks no more often than its policy says, and then for what is so now
            watch = QueueWatch(Backlog(jobs, fresh_s=0.0), wanted, lambda: tally.done)
            app.conf.worker_autoscaler = partial(QueueAutoscaler, watch=watch, policy=autoscale, resized=hands.keep)
        celery = _celery(app, settings, wanted, concurrency, autoscale)
        _connect(stopping, told.ready)
        if told.metrics_port is not None:
            _read(metrics, Backlog(jobs), celery.pool, wanted)
            if live is not None:
                metrics.registry.register(PriceReading(partial(upper_charges, live)))
            told.metrics_at(opened.enter_context(exposed(metrics, settings.queue.metrics_host, told.metrics_port)))
        tender = Tender(jobs, broker, stopping, settings.queue, drain=drain, moved=metrics.document)
        tender.start()
        opened.callback(tender.join)
        opened.callback(stopping.set)
        celery.start()
        return int(celery.exitcode or 0)


def _drain(live: LiveRuntime, jobs: JobStore, moved: Moved, stopping: threading.Event) -> int:
    with live.write() as runtime, closing(Drainer(runtime, jobs, moved=moved)) as drainer:
        return drainer.drain(stopping.is_set)


def _owning(settings: Settings, on_batch: BatchObserver) -> AbstractContextManager[LiveRuntime]:
    """Own the index; where a command has it, wait for its end for a while."""
    deadline = time.monotonic() + _OTHERS_END_S
    while True:
        owner = None if settings.index.shared else current_owner(settings.home)
        if owner is None or owner.role == SERVES or time.monotonic() > deadline:
            return open_live(settings, APPLIES, on_batch)
        time.sleep(_LOOK_AGAIN_S)


def _celery(
    app: "Celery", settings: Settings, queues: Sequence[str], concurrency: int, autoscale: Policy | None
) -> Any:
    from ragsaver.workers.pool import ResizablePool

    return app.Worker(
        queues=list(queues),
        pool=ResizablePool,
        concurrency=concurrency,
        autoscale=autoscale and (autoscale.max_workers, autoscale.min_workers),
        # Each thread that there may be is to find a batch; without autoscaling all of them share one.
        prefetch_multiplier=_prefetch(queues, 1 if autoscale else concurrency, settings.queue.embed_batch_documents),
        quiet=True,
        loglevel=logging.WARNING,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )


def _connect(stopping: threading.Event, ready: Callable[[], None]) -> None:
    from celery import signals

    def is_ready(**_: Any) -> None:
        ready()

    def is_stopping(**_: Any) -> None:
        stopping.set()

    signals.worker_ready.connect(is_ready, weak=False)
    signals.worker_shutting_down.connect(is_stopping, weak=False)


def _read(metrics: IngestionMetrics, backlog: Backlog, pool: Any, queues: Sequence[str]) -> None:
    """Let Prometheus see what is looked up when it asks."""
    metrics.registry.register(QueueReading(backlog))
    metrics.registry.register(ThreadsReading(lambda: (pool.limit, pool.busy)))
    if EMBED in queues and (gpu := nvidia_reader()):
        metrics.registry.register(GpuReading(gpu, metrics.embedded))


def _prefetch(queues: Sequence[str], threads: int, batch: int) -> int:
    """Messages taken for each thread: one, or as many as make a batch of documents to embed."""
    return max(1, math.ceil(batch / threads)) if EMBED in queues else 1
