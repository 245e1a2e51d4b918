"""What if a budget has no room for what a batch embeds? The rest goes in, and who needs money waits, untouched."""

import math
from collections.abc import Iterator, Mapping, Sequence

from ragsaver.control_characters import on_one_line
from ragsaver.errors import RUN_AGAIN, BudgetExceeded
from ragsaver.index.scope import Scope
from ragsaver.ingestion.applying import Applier, Embedded
from ragsaver.ingestion.charging import EmbeddingCharges, RunCharges
from ragsaver.ingestion.kept_vectors import KeptVectors
from ragsaver.ingestion.manifest import Manifest
from ragsaver.ingestion.planning import Change, original_of
from ragsaver.ingestion.report import IngestReport, PlannedRefusal, PlanReport
from ragsaver.ingestion.sources import SourceItem

_NAMED = 3


class Affording:
    """Embeds a run's batches as far as budgets have room.

    :param posted: the documents that were given as text, by source.
    :ivar waiting: sources of the documents that wait.
    :ivar refused: why; of several the budget that lasts longest.
    """

    def __init__(
        self,
        applier: Applier,
        manifest: Manifest,
        scope: Scope,
        charges: RunCharges,
        kept: KeptVectors,
        posted: Mapping[str, SourceItem],
    ) -> None:
        self._applier = applier
        self._manifest = manifest
        self._scope = scope
        self._charges = charges
        self._kept = kept
        self._posted = posted
        self.waiting: list[str] = []
        self.refused: BudgetExceeded | None = None

    def embedded(self, batch: Sequence[Change]) -> Iterator[Embedded]:
        """The batch with its vectors; document by document where there is no room for all of it."""
        try:
            together = self._embed(batch)
        except BudgetExceeded as error:
            self._manifest.clear_intents([change.record.id for change in batch])
            if len(batch) == 1:
                self._wait(batch[0], error)
                return
        else:
            yield together
            return
        for change in batch:
            yield from self.embedded([change])

    def _embed(self, batch: Sequence[Change]) -> Embedded:
        originals = [original_of(change, self._posted.get(change.record.source)) for change in batch]
        charges = self._charges
        return self._applier.embed(self._scope, batch, originals, charges.took, self._kept, charges.reserve)

    def _wait(self, change: Change, error: BudgetExceeded) -> None:
        self.waiting.append(change.record.source)
        if self.refused is None or _wait_s(error) >= _wait_s(self.refused):
            self.refused = error


def told_waiting(refused: BudgetExceeded, waiting: Sequence[str], report: IngestReport) -> BudgetExceeded:
    """What is said of a run that documents wait after.

    :param report: what it did.
    """
    named = ", ".join(on_one_line(source) for source in waiting[:_NAMED])
    more = f" and {len(waiting) - _NAMED} more" if len(waiting) > _NAMED else ""
    return BudgetExceeded(
        f"{len(waiting)} of {report.documents.seen} documents wait ({named}{more}): {refused.problem}",
        where=refused.where,
        remedy=f"{refused.remedy}. {RUN_AGAIN}",
        budget=refused.budget,
        remaining_usd=refused.remaining_usd,
        resets_at=refused.resets_at,
        retry_after_s=refused.retry_after_s,
        report=report,
    )


def foreseen(charges: EmbeddingCharges, tenant: str, plan: PlanReport) -> PlanReport:
    """The plan with the budget that has no room for all of it."""
    try:
        charges.foresee(tenant, plan.cost_usd)
    except BudgetExceeded as error:
        refused = PlannedRefusal(budget=error.budget, remaining_usd=error.remaining_usd, resets_at=error.resets_at)
        return plan.model_copy(update={"refused": refused})
    return plan


def _wait_s(error: BudgetExceeded) -> float:
    return math.inf if error.retry_after_s is None else error.retry_after_s
