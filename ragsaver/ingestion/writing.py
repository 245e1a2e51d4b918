"""Writing what is embedded takes a while, in which a model can embed what comes next."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from ragsaver.index.scope import Scope
from ragsaver.ingestion.applying import Applier, Embedded
from ragsaver.ingestion.summarising import Allowance, Summarised


class Writing:
    """A thread that writes one batch while the next is read, cut and embedded. Leaving it waits for the last one.

    It saves time where a model computes, which needs no lock of Python's; the engine's writing does.

    :param allowance: what summaries may cost.
    :ivar summaries: what they took, of the batches that are written.
    """

    def __init__(self, applier: Applier, scope: Scope, allowance: Allowance | None) -> None:
        self._applier = applier
        self._scope = scope
        self._allowance = allowance
        self.summaries = Summarised()
        self._thread = ThreadPoolExecutor(1, "writing")
        self._last: Future[Summarised] | None = None

    def put(self, embedded: Embedded) -> None:
        """Write a batch once the one before is written; what went wrong with that one is raised here."""
        self._wait()
        self._last = self._thread.submit(self._applier.write, self._scope, embedded, self._allowance)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._wait()
        finally:
            self._thread.shutdown()

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last:
            self.summaries += last.result()
