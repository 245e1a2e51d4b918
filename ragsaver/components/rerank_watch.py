"""What did the gate decide, and what does it miss? Counted on the way, sampled beside it.

Without judgements nobody knows whether another order would have been better. What is known is whether the reranker
would have changed the order: a skipped question whose order would have stayed was skipped rightly, whatever is true.
So the share of skipped questions whose first passage would have moved is an upper bound of what was lost at the top,
and it can be compared with what it was when the gate was tuned on judged questions.
"""

import logging
import math
import queue
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, get_args

from ragsaver.errors import RagSaverError
from ragsaver.spend.receipt import ZERO

Decision = Literal["reranked", "kept", "skipped", "late", "failed", "paused", "unpaid"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)
ANSWERED: tuple[Decision, ...] = ("reranked", "kept")  # by the reranker, whether its order was taken or not

_TENANTS = 1000  # whose samples are remembered apart; who was sampled longest ago goes first
_WAITING = 8  # samples; more are dropped, so that a slow reranker piles up no work
_ENOUGH = 50  # samples before they mean anything
_SURE = 1.96  # standard errors
_GOODBYE_S = 2.0  # that closing waits for a sample under way; it is no loss

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """What reranking would have done to a skipped question.

    :ivar moved: it puts another passage first.
    :ivar left_behind: as `rerank_gate.left_behind` gives it.
    """

    moved: bool
    left_behind: float
    cost_usd: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Regret:
    """What is known of the skipped questions; means over those that were sampled.

    :ivar moved: share whose first passage would have been another one.
    :ivar at_least: lower bound of that share, 95% (Wilson 1927).
    """

    samples: int
    moved: float
    at_least: float
    left_behind: float
    cost_usd: Decimal


class RerankWatch:
    """Counters of one process, from any thread, and the thread that takes samples.

    What is told to the operator is of all together; what a tenant's questions go by is of its own alone.
    """

    def __init__(self) -> None:
        self._decisions: Counter[Decision] = Counter()
        self._samples = self._moved = 0
        self._left_behind = 0.0
        self._cost_usd = ZERO
        self._of: OrderedDict[str, tuple[int, int]] = OrderedDict()  # samples, and those that moved
        self._counting = threading.Lock()
        self._waiting: queue.Queue[tuple[Callable[[], Sample], str] | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None

    def decided(self, decision: Decision) -> None:
        """One question."""
        with self._counting:
            self._decisions[decision] += 1

    def decisions(self) -> dict[Decision, int]:
        """How many questions went which way; all ways are named."""
        with self._counting:
            return {decision: self._decisions[decision] for decision in DECISIONS}

    def sample_later(self, take: Callable[[], Sample], tenant: str) -> bool:
        """Take a sample on a thread of its own; false if too many wait.

        :param tenant: whose question it is.
        """
        with self._counting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="rerank-samples", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait((take, tenant))
        except queue.Full:
            return False
        return True

    def note(self, sample: Sample, tenant: str) -> None:
        """Count a sample."""
        with self._counting:
            samples, moved = self._of.pop(tenant, (0, 0))
            self._of[tenant] = samples + 1, moved + sample.moved
            if len(self._of) > _TENANTS:
                self._of.popitem(last=False)
            self._samples += 1
            self._moved += sample.moved
            self._left_behind += sample.left_behind
            self._cost_usd += sample.cost_usd

    def regret(self) -> Regret:
        """What is known so far."""
        with self._counting:
            count = max(self._samples, 1)
            return Regret(
                self._samples,
                self._moved / count,
                at_least(self._moved, self._samples),
                self._left_behind / count,
                self._cost_usd,
            )

    def misses_more_than(self, share: float, tenant: str) -> bool:
        """Whether more of a tenant's skipped questions would have moved than a share, beyond chance."""
        with self._counting:
            samples, moved = self._of.get(tenant, (0, 0))
        return samples >= _ENOUGH and at_least(moved, samples) > share

    def settle(self) -> None:
        """Wait until every sample that waits is taken."""
        self._waiting.join()

    def close(self) -> None:
        """Drop what waits, and end the thread after the sample that it takes, or leave it to that."""
        with self._counting:
            thread, self._thread = self._thread, None
        if thread is None:
            return
        while True:
            try:
                self._waiting.get_nowait()
                self._waiting.task_done()
            except queue.Empty:
                break
        self._waiting.put(None)
        thread.join(_GOODBYE_S)

    def _work(self) -> None:
        while True:
            waiting = self._waiting.get()
            try:
                if waiting is None:
                    return
                take, tenant = waiting
                self.note(take(), tenant)
            except RagSaverError as error:
                _log.warning("a sample was not reranked: %s", error)
            except Exception:
                _log.exception("a sample was not reranked")
            finally:
                self._waiting.task_done()


def at_least(hits: int, of: int) -> float:
    """Lower bound of a share, 95% (Wilson 1927); 0 where nothing is known."""
    if not of:
        return 0.0
    share, squared = hits / of, _SURE**2
    spread = _SURE * math.sqrt(share * (1 - share) / of + squared / (4 * of**2))
    return max(0.0, (share + squared / (2 * of) - spread) / (1 + squared / of))
