"""What Prometheus is told of the gate: what it decided, and what it misses by the sample of skipped questions."""

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ragsaver.pipelines.live import LiveRuntime


class RerankReading(Collector):
    """Of the runtime in use; another one begins at 0, which Prometheus takes for a restart."""

    def __init__(self, live: LiveRuntime) -> None:
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """Called when Prometheus asks."""
        with self._live.use() as runtime:
            watch = runtime.resources.reranking.watch
        decisions = CounterMetricFamily(
            "ragsaver_rerank_decisions", "Questions, by what became of reranking.", labels=["decision"]
        )
        for decision, count in watch.decisions().items():
            decisions.add_metric([decision], count)
        regret = watch.regret()
        yield decisions
        yield CounterMetricFamily(
            "ragsaver_rerank_samples", "Skipped questions that were reranked afterwards.", value=regret.samples
        )
        yield CounterMetricFamily(
            "ragsaver_rerank_samples_cost_usd", "Dollars for those, on no receipt.", value=float(regret.cost_usd)
        )
        yield GaugeMetricFamily(
            "ragsaver_rerank_skipped_moved_ratio",
            "Share of those whose first passage would have been another one.",
            value=regret.moved,
        )
        yield GaugeMetricFamily(
            "ragsaver_rerank_skipped_left_behind_ratio",
            "Share of the best five scores that skipping left behind, by the reranker, in the mean of those.",
            value=regret.left_behind,
        )
