"""What Prometheus is told of retries: how many calls at models' endpoints are some, and how many were not made."""

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from ragsaver.components.chat import budget_of
from ragsaver.components.retry_budget import Kind, RetryBudget
from ragsaver.pipelines.live import LiveRuntime

_TOLD: dict[Kind, tuple[str, str]] = {
    "first": ("ragsaver_model_first_attempts", "Calls at a model's endpoint, retries left out."),
    "retry": ("ragsaver_model_retries", "Calls that were made again after a failure."),
    "refused": ("ragsaver_model_retries_refused", "Failures that were not retried: retries are at their share."),
}


class RetryReading(Collector):
    """Of this process, for the models in use; what two tiers share is told of the first of them."""

    def __init__(self, live: LiveRuntime) -> None:
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """Called when Prometheus asks."""
        wishes = self._live.settings.generation
        shared: dict[RetryBudget, tuple[str, str]] = {}
        for tier, model in zip(wishes.tier_names, wishes.models, strict=True):
            shared.setdefault(budget_of(model), (tier, model.name))
        counts = [(labels, budget.counts()) for budget, labels in shared.items()]
        for kind, (name, told) in _TOLD.items():
            family = CounterMetricFamily(name, told, labels=["tier", "model"])
            for labels, count in counts:
                family.add_metric(labels, count[kind])
            yield family
