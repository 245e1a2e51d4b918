"""What is looked up when Prometheus asks: how much waits, and what this worker's threads do."""

import logging
from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ragsaver.errors import StorageError
from ragsaver.workers.backlog import Backlog

_log = logging.getLogger(__name__)


class QueueReading(Collector):
    """The queues. Where the job store can't be read they are left out, so that a rule sees that nobody tells."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog

    def collect(self) -> Iterator[Metric]:
        """Called when Prometheus asks."""
        depth = GaugeMetricFamily(
            "ragsaver_queue_depth", "Documents that wait and that nobody works on.", labels=["queue"]
        )
        age = GaugeMetricFamily(
            "ragsaver_queue_oldest_age_seconds",
            "How long ago the oldest waiting document of a queue was given; 0 if none waits.",
            labels=["queue"],
        )
        try:
            queues = self._backlog.look()
        except StorageError as error:
            _log.warning("nobody says how much waits: %s", error)
            return
        for queue, waiting in queues.items():
            depth.add_metric([queue], waiting.documents)
            age.add_metric([queue], waiting.oldest_age_s)
        yield from (depth, age)


class ThreadsReading(Collector):
    """The threads of a worker.

    :param read: how many may work at a time, and how many do.
    """

    def __init__(self, read: Callable[[], tuple[int, int]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Called when Prometheus asks."""
        threads, busy = self._read()
        yield GaugeMetricFamily("ragsaver_worker_threads", "Threads of this worker that may work at a time.", threads)
        yield GaugeMetricFamily("ragsaver_worker_threads_busy", "Threads of this worker that work.", busy)
