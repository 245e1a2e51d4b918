"""What Prometheus is told of the caches: what was there, what was not, what fell, and what that saved."""

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from ragsaver.pipelines.live import LiveRuntime

_TOLD = {
    "hits": "Questions whose answer, passages or vector was there.",
    "semantic_hits": "Questions that were answered as another one that asks the same.",
    "misses": "Questions whose answer, passages or vector had to be made.",
    "invalidations": "Entries that fell because something they were made from had changed.",
    "waits": "Times that a question waited for the same one to be answered.",
}


class CacheReading(Collector):
    """Of the runtime in use; another one begins at 0, which Prometheus takes for a restart."""

    def __init__(self, live: LiveRuntime) -> None:
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """Called when Prometheus asks."""
        with self._live.use() as runtime:
            tally = runtime.resources.caches.tally
        counts = tally.counts()
        for outcome, told in _TOLD.items():
            family = CounterMetricFamily(f"ragsaver_cache_{outcome}", told, labels=["cache"])
            for (cache, counted), number in sorted(counts.items()):
                if counted == outcome:
                    family.add_metric([cache], number)
            yield family
        yield CounterMetricFamily(
            "ragsaver_cache_saved_usd",
            "Dollars that answers from the cache had cost when they were made.",
            value=float(tally.saved_usd),
        )
