"""What Prometheus is told of receipts that are not in the ledger because it could not be written."""

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ragsaver.pipelines.live import LiveRuntime


class ReceiptReading(Collector):
    """Of the runtime in use."""

    def __init__(self, live: LiveRuntime) -> None:
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """Called when Prometheus asks."""
        with self._live.use() as runtime:
            waiting, lost = runtime.resources.till.receipts_apart()
        yield GaugeMetricFamily(
            "ragsaver_receipts_waiting", "Receipts that wait for the ledger to be written.", waiting
        )
        yield CounterMetricFamily("ragsaver_receipts_lost", "Receipts that were not kept: too many waited.", lost)
