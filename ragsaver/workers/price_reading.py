"""What Prometheus is told of prices: how many charges were made at an upper one, since nobody knows the model's own."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from ragsaver.pipelines.live import LiveRuntime


class PriceReading(Collector):
    """Charges at an upper price.

    :param counts: by model, so far.
    """

    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Called when Prometheus asks."""
        family = CounterMetricFamily(
            "ragsaver_upper_price_charges",
            "Charges at an upper price, of models that are on no price list.",
            labels=["model"],
        )
        for model, count in sorted(self._counts().items()):
            family.add_metric([model], count)
        yield family


def upper_charges(live: LiveRuntime) -> dict[str, int]:
    """Those of the runtime in use; another one begins at 0, which Prometheus takes for a restart.

    A model of the settings whose price nobody knows is told before its first charge: a counter that first appears at 1
    has no increase that a rule could see.
    """
    with live.use() as runtime:
        prices, charged = runtime.resources.prices, runtime.resources.till.upper_charges.counts()
        names = {model.name for model in runtime.settings.generation.models}
    return {name: 0 for name in names if not prices.price(name).known} | charged
