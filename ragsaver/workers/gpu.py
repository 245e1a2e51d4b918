"""How much of the time for which a GPU is paid does it embed? What the driver says, less what is padding."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

# Busy shares, 0 to 1, of each GPU by its position.
GpuReader = Callable[[], Sequence[float]]

_log = logging.getLogger(__name__)


class GpuReading(Collector):
    """How busy the GPUs are, times the share of tokens since the last look that was no padding.

    A GPU that works when no batch was embedded works for somebody else.

    :param embedded: tokens so far, without and with padding.
    """

    def __init__(self, read: GpuReader, embedded: Callable[[], tuple[float, float]]) -> None:
        self._read = read
        self._embedded = embedded
        self._looking = threading.Lock()
        self._before = embedded()

    def collect(self) -> Iterator[Metric]:
        """Called when Prometheus asks."""
        with self._looking:
            now, before = self._embedded(), self._before
            self._before = now
        tokens, padded = now[0] - before[0], now[1] - before[1]
        family = GaugeMetricFamily(
            "ragsaver_gpu_useful_utilization",
            "Share of time for which a GPU embeds, padding left out.",
            labels=["gpu"],
        )
        for position, busy in enumerate(self._read()):
            family.add_metric([str(position)], busy * (tokens / padded if padded > 0 else 0.0))
        yield family


def nvidia_reader() -> GpuReader | None:
    """A reader of the machine's NVIDIA GPUs; None where there is none that tells, no driver or no `ragsaver[gpu]`."""
    try:
        import pynvml
    except ImportError:
        return None

    def read() -> list[float]:
        return [pynvml.nvmlDeviceGetUtilizationRates(device).gpu / 100 for device in devices]

    def read_if_it_tells() -> list[float]:
        try:
            return read()
        except pynvml.NVMLError as error:
            # a GPU that fell off the bus must not take the other metrics with it
            _log.warning("a GPU no longer says how busy it is: %s", error)
            return []

    try:
        pynvml.nvmlInit()
        devices = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return read_if_it_tells if read() else None
    except pynvml.NVMLError as error:
        _log.info("no GPU is measured: %s", error)
        return None
