"""What became of one question's reranking, and what of it a person may read; the log has the rest."""

import logging
from dataclasses import dataclass
from decimal import Decimal

from ragsaver.components.rerank_watch import Decision
from ragsaver.errors import RagSaverError, RerankError, StorageError, TooExpensive, UnknownPrice
from ragsaver.spend.receipt import ZERO

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the reranker is asked, and why or why not.

    :ivar seen: by the gate, as `features` gives it; None where it is not asked.
    """

    rerank: bool
    reason: str
    seen: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Reranked:
    """What became of one question.

    :ivar scores: new ones of the passages, in the order given; None where the order stays.
    :ivar passing: whether another time it may be asked, where it is not paid for.
    """

    decision: Decision
    reason: str
    scores: list[float] | None = None
    cost_usd: Decimal = ZERO
    passing: bool = True


def without_time() -> Reranked:
    """Nobody was asked."""
    return Reranked("late", "not begun, since the request has no time left: the order stays")


def unpaid(error: RagSaverError) -> Reranked:
    """Nobody pays for the call; what a person may read of that, and the log the rest."""
    if isinstance(error, StorageError):
        _log.warning("the reranker is not asked: %s", error)
        return Reranked("unpaid", "the ledger can't be asked now: the order stays")
    return Reranked("unpaid", f"{error.problem} ({error.where}): the order stays", passing=not _lasts(error))


def _lasts(error: RagSaverError) -> bool:
    """Whether the same request would be refused at any time."""
    return isinstance(error, (TooExpensive, UnknownPrice))


def told_of(error: Exception) -> str:
    """For the receipt, what a person may read of a failure; the log has the rest."""
    if isinstance(error, RagSaverError):
        _log.warning("the reranker failed (%s): %s", type(error).__name__, error)
        return error.problem if isinstance(error, RerankError) else "it can't be opened"  # that may name a file
    _log.error("the reranker failed (%s)", type(error).__name__, exc_info=error)
    return f"it raised {type(error).__name__}"
