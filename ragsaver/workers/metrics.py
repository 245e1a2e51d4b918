"""What Prometheus is told of ingestion: what was embedded, how much of it is padding, what became of documents.

These are counted as things happen; what is looked up when Prometheus asks is in `readings` and `gpu`. Every label has
a known, small set of values. Where processes share a folder named by `PROMETHEUS_MULTIPROC_DIR` (prometheus-client
reads it when it is imported), each of them tells the counters of all.
"""

from pathlib import Path
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from ragsaver.ingestion.job_report import State
from ragsaver.settings import environment

_BATCH_TOKENS = tuple(64 * 2**power for power in range(13))
_RATIOS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)


class IngestionMetrics:
    """The counters of one process, from any thread.

    :param multiprocess_dir: the folder that the processes share, if there is one.
    :ivar registry: what Prometheus is given; `readings` are registered with it.
    """

    def __init__(self, multiprocess_dir: Path | None = None) -> None:
        counters = CollectorRegistry()
        self._counters = counters
        if multiprocess_dir is not None:
            self._counters = CollectorRegistry()
            MultiProcessCollector(self._counters, path=str(multiprocess_dir))  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.registry.register(self._counters)
        self._tokens = Counter("ragsaver_embed_tokens", "Tokens embedded, padding left out.", registry=counters)
        self._padded = Counter("ragsaver_embed_padded_tokens", "Tokens embedded, padding included.", registry=counters)
        self._batch = Histogram(
            "ragsaver_embed_batch_tokens",
            "Tokens of a batch, padding included.",
            buckets=_BATCH_TOKENS,
            registry=counters,
        )
        self._padding = Histogram(
            "ragsaver_embed_padding_ratio", "Share of a batch that is padding.", buckets=_RATIOS, registry=counters
        )
        self._documents = Counter(
            "ragsaver_documents", "Documents that came into a state.", ["state"], registry=counters
        )
        for state in State:
            # a counter that first appears at 1 has no increase that a rule could see
            self._documents.labels(state.value)

    @classmethod
    def of_process(cls) -> Self:
        """Those of this process, as its environment has it."""
        shared = environment("PROMETHEUS_MULTIPROC_DIR")
        return cls(Path(shared) if shared else None)

    def batch(self, tokens: int, padded_tokens: int) -> None:
        """A batch was embedded: its tokens without and with padding. An empty one is none."""
        if padded_tokens <= 0:
            return
        self._tokens.inc(tokens)
        self._padded.inc(padded_tokens)
        self._batch.observe(padded_tokens)
        self._padding.observe(1 - tokens / padded_tokens)

    def document(self, state: State, count: int = 1) -> None:
        """Documents came into a state."""
        self._documents.labels(State(state).value).inc(count)

    def embedded(self) -> tuple[float, float]:
        """Tokens embedded so far, without and with padding."""
        tokens, padded = (
            self._counters.get_sample_value(f"ragsaver_embed_{name}_total") for name in ("tokens", "padded_tokens")
        )
        return tokens or 0.0, padded or 0.0

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)
