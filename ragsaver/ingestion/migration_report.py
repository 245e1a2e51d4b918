"""What a migration would take, and what it did, in the shape that scripts read."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from ragsaver.ingestion.gates import printable
from ragsaver.ingestion.report import EmbeddingSpend, IngestFailure, IngestReport, PlannedEmbedding, PlanReport
from ragsaver.spend.receipt import ZERO

_GONE = "its source is gone, and it was not posted as text"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MigrationPlan(_Frozen):
    """What a migration would take. `reason` is null if there is nothing to do; `missing` ones would stay behind."""

    reason: str | None = None
    documents: int = 0
    chunks: int = 0
    embedding: PlannedEmbedding = PlannedEmbedding()
    missing: tuple[IngestFailure, ...] = ()


class MigratedDocuments(_Frozen):
    """Documents of the old index, and of these those that are in the new one and those that are not."""

    total: int = 0
    brought: int = 0
    missing: int = 0


class MigratedChunks(_Frozen):
    """Chunks of this run: embedded now, and embedded before."""

    embedded: int = 0
    reused: int = 0


class MigrationReport(_Frozen):
    """What a run did. Where it did not switch, `waiting` says why, and what to do."""

    reason: str | None = None
    documents: MigratedDocuments = MigratedDocuments()
    chunks: MigratedChunks = MigratedChunks()
    embedding: EmbeddingSpend = EmbeddingSpend()
    seconds: float = 0.0
    switched: bool = False
    waiting: str | None = None
    errors: tuple[IngestFailure, ...] = ()


class PlanTally:
    """What a migration would take, scope by scope."""

    def __init__(self) -> None:
        self._documents = self._chunks = self._tokens = 0
        self._seconds: float | None = 0.0
        self._cost_usd = ZERO
        self._missing: list[IngestFailure] = []

    def add(self, documents: int, plan: PlanReport, lost: Sequence[str]) -> None:
        """One more scope.

        :param lost: sources of documents that are nowhere any more.
        """
        self._documents += documents
        self._chunks += plan.chunks.embed
        self._tokens += plan.embedding.tokens
        known = self._seconds is not None and plan.embedding.seconds is not None
        self._seconds = (self._seconds or 0.0) + (plan.embedding.seconds or 0.0) if known else None
        self._cost_usd += plan.embedding.cost_usd
        self._missing += [IngestFailure(source=printable(source), error=_GONE) for source in lost]
        self._missing += plan.errors

    def plan(self, reason: str) -> MigrationPlan:
        """All of it."""
        seconds = None if self._seconds is None else round(self._seconds, 1)
        embedding = PlannedEmbedding(tokens=self._tokens, seconds=seconds, cost_usd=self._cost_usd)
        return MigrationPlan(
            reason=reason,
            documents=self._documents,
            chunks=self._chunks,
            embedding=embedding,
            missing=tuple(self._missing),
        )


class RunTally:
    """What the passes of one run did. Documents are those of the last pass."""

    def __init__(self) -> None:
        self._total = self._embedded = self._reused = self._tokens = self._cached_tokens = 0
        self._cost_usd = self._saved_usd = ZERO
        self.missing: list[IngestFailure] = []

    def begin_pass(self) -> None:
        """The documents are counted anew."""
        self._total, self.missing = 0, []

    def add(self, documents: int, report: IngestReport, absent: Sequence[str]) -> None:
        """One more scope.

        :param absent: sources of documents that are not in the new half.
        """
        self._total += documents
        self._embedded += report.chunks.embedded
        self._reused += report.chunks.total - report.chunks.embedded
        self._tokens += report.embedding.tokens
        self._cost_usd += report.embedding.cost_usd
        self._cached_tokens += report.embedding.cached_tokens
        self._saved_usd += report.embedding.saved_usd
        told = {failure.source: failure for failure in report.errors}
        names = [printable(source) for source in absent]
        self.missing += [told.get(name) or IngestFailure(source=name, error=_GONE) for name in names]

    def report(self, reason: str, waiting: str | None, seconds: float) -> MigrationReport:
        """All of it.

        :param waiting: why the new half is not in use; None if it is.
        """
        missing = len(self.missing)
        return MigrationReport(
            reason=reason,
            documents=MigratedDocuments(total=self._total, brought=self._total - missing, missing=missing),
            chunks=MigratedChunks(embedded=self._embedded, reused=self._reused),
            embedding=EmbeddingSpend(
                tokens=self._tokens,
                cost_usd=self._cost_usd,
                cached_tokens=self._cached_tokens,
                saved_usd=self._saved_usd,
            ),
            seconds=round(seconds, 3),
            switched=waiting is None,
            waiting=waiting,
            errors=tuple(self.missing),
        )
