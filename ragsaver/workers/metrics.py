"""What Prometheus is told of ingestion: how long documents wait, and how much of the embedding is useful work.

Every label has a known, small set of values. With several processes, start them with `PROMETHEUS_MULTIPROC_DIR` in the
environment (prometheus-client reads it when it is imported) and give `exposition` the same folder.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from ragsaver.errors import UsageError

Queue = Literal["convert", "embed"]
DocumentState = Literal["queued", "converted", "embedded", "applied", "unchanged", "failed", "dead"]
# busy shares, 0 to 1, of each GPU by its position
GpuReader = Callable[[], Sequence[float]]

_logger = logging.getLogger(__name__)
_BATCH_TOKENS = tuple(256 * 2**power for power in range(11))
_RATIOS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)


class WorkerMetrics:
    """The collectors of one process. Make one: they are registered by name.

    :param gpu: reads how busy the GPUs are; None leaves the GPU's metric out.
    """

    def __init__(self, gpu: GpuReader | None = None) -> None:
        self._registry = CollectorRegistry()
        self._gpu = gpu
        self._last_totals = (0.0, 0.0)
        self._depth = Gauge(
            "ragsaver_queue_depth",
            "Documents that wait in a queue.",
            ["queue"],
            registry=self._registry,
            multiprocess_mode="mostrecent",
        )
        self._age = Gauge(
            "ragsaver_queue_oldest_age_seconds",
            "How long the oldest waiting document of a queue has waited; 0 if none waits.",
            ["queue"],
            registry=self._registry,
            multiprocess_mode="mostrecent",
        )
        self._tokens = Counter("ragsaver_embed_tokens", "Tokens embedded, padding left out.", registry=self._registry)
        self._padded = Counter(
            "ragsaver_embed_padded_tokens", "Tokens embedded, padding included.", registry=self._registry
        )
        self._batch = Histogram(
            "ragsaver_embed_batch_tokens",
            "Tokens of a batch, padding included.",
            buckets=_BATCH_TOKENS,
            registry=self._registry,
        )
        self._padding = Histogram(
            "ragsaver_embed_padding_ratio",
            "Share of a batch that is padding.",
            buckets=_RATIOS,
            registry=self._registry,
        )
        self._documents = Counter(
            "ragsaver_documents", "Documents that came into a state.", ["state"], registry=self._registry
        )
        for state in get_args(DocumentState):
            # a counter that first appears at 1 has no increase that a rule could see
            self._documents.labels(state)

    def queue(self, queue: Queue, depth: int, oldest_age_s: float) -> None:
        """How many documents wait, and for how long the oldest has. :raises UsageError: if there is no such queue."""
        self._depth.labels(_known(queue, get_args(Queue))).set(depth)
        self._age.labels(queue).set(oldest_age_s)

    def batch(self, tokens: int, padded_tokens: int) -> None:
        """A batch was embedded: its tokens without and with padding. An empty one is none."""
        if padded_tokens <= 0:
            return
        self._tokens.inc(tokens)
        self._padded.inc(padded_tokens)
        self._batch.observe(padded_tokens)
        self._padding.observe(1 - tokens / padded_tokens)

    def document(self, state: DocumentState, count: int = 1) -> None:
        """Documents came into a state. :raises UsageError: if there is no such state."""
        self._documents.labels(_known(state, get_args(DocumentState))).inc(count)

    def exposition(self, multiprocess_dir: Path | None = None) -> bytes:
        """The text that Prometheus reads; of all processes that share the folder, if there is one."""
        registry = self._registry
        if multiprocess_dir is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(multiprocess_dir))  # type: ignore[no-untyped-call]
        families = list(registry.collect())
        shown = CollectorRegistry()
        shown.register(_Collected([*families, *self._gpu_family(families)]))
        return generate_latest(shown)

    def _gpu_family(self, families: Sequence[Metric]) -> Iterator[Metric]:
        """How busy the GPUs are, times the share of tokens since the last look that was no padding.

        A GPU that works when no batch was embedded works for somebody else.
        """
        if self._gpu is None:
            return
        totals = (
            _total(families, "ragsaver_embed_tokens_total"),
            _total(families, "ragsaver_embed_padded_tokens_total"),
        )
        tokens, padded = (now - before for now, before in zip(totals, self._last_totals, strict=True))
        self._last_totals = totals
        family = GaugeMetricFamily(
            "ragsaver_gpu_useful_utilization",
            "Share of time for which a GPU embeds, padding left out.",
            labels=["gpu"],
        )
        for position, busy in enumerate(self._gpu()):
            family.add_metric([str(position)], busy * (tokens / padded if padded > 0 else 0.0))
        yield family


class _Collected(Collector):
    """Families that are there already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def forget_process(pid: int, multiprocess_dir: Path) -> None:
    """Say that a process is gone, so that its live gauges go too; its counters stay."""
    mark_process_dead(pid, str(multiprocess_dir))  # type: ignore[no-untyped-call]


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
            _logger.warning("A GPU no longer says how busy it is: %s", error)
            return []

    try:
        pynvml.nvmlInit()
        devices = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return read_if_it_tells if read() else None
    except pynvml.NVMLError as error:
        _logger.info("No GPU is measured: %s", error)
        return None


def _total(families: Sequence[Metric], name: str) -> float:
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def _known(value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise UsageError(f"no metric has the label `{value}`", remedy=f"Labels: {', '.join(allowed)}")
    return value
