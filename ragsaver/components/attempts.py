"""A call to a model's endpoint failed: was anything billed, does another attempt make sense, and when?"""

from collections.abc import Callable
from typing import Any

import tenacity

from ragsaver.components.caller import NeverBegun
from ragsaver.components.endpoint_errors import is_of_the_network, retry_after_s, status_of, was_not_sent
from ragsaver.components.retry_budget import NOT_AGAIN, RetryBudget
from ragsaver.errors import GenerationError
from ragsaver.spend.ledger import NOTHING, UNKNOWN

_ANOTHER_TIME = frozenset({408, 409, 429})
_FIRST_S, _LONGEST_S = 0.25, 8.0


def outcome_of(error: BaseException) -> str:
    """What an attempt that failed may have cost: `NOTHING`, or `UNKNOWN` where the endpoint may have worked."""
    if isinstance(error, NeverBegun):
        return NOTHING
    status = status_of(error)
    if status is not None:
        return NOTHING if status < 500 and status != 408 else UNKNOWN
    return NOTHING if was_not_sent(error) else UNKNOWN


def makes_sense(error: BaseException) -> bool:
    """Whether another attempt may do better."""
    if type(error) is not GenerationError:  # not after the answer had begun
        return False
    status = status_of(error.__cause__)
    if status is not None:
        return status in _ANOTHER_TIME or status >= 500
    return is_of_the_network(error.__cause__)


class Pause(tenacity.wait.wait_base):
    """As long as the endpoint says; else a random time in a window that doubles, so that many do not come at once."""

    def __init__(self) -> None:
        self._random = tenacity.wait_random_exponential(multiplier=_FIRST_S, max=_LONGEST_S)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        """Seconds."""
        error = retry_state.outcome.exception() if retry_state.outcome else None
        said = retry_after_s(error.__cause__ if error else None)
        return self._random(retry_state) if said is None else said


def told_not_again(told: str | None) -> str:
    """What is told of a failure for which the budget of retries had no other attempt."""
    return f"{told}. {NOT_AGAIN}" if told else NOT_AGAIN


def patience(attempts: int, left_s: float | None, longest_pause_s: float, budget: RetryBudget) -> dict[str, Any]:
    """How tenacity is to retry.

    :param attempts: at most.
    :param left_s: until the request's deadline; None if it has none.
    :param longest_pause_s: an endpoint that wants a longer one is not asked again.
    :param budget: where it is empty the failure stays, and its remedy says so.
    """

    def too_long(state: tenacity.RetryCallState) -> bool:
        return state.upcoming_sleep > longest_pause_s

    def used_up(state: tenacity.RetryCallState) -> bool:
        if budget.again():
            return False
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, GenerationError):
            error.remedy = told_not_again(error.remedy)
        return True

    stop: Callable[[tenacity.RetryCallState], bool] = tenacity.stop_after_attempt(attempts)
    late = tenacity.stop_before_delay(left_s) if left_s is not None else tenacity.stop_never
    return {
        # the last one takes a retry out: it is asked only where all others let it be made
        "stop": lambda state: stop(state) or late(state) or too_long(state) or used_up(state),
        "wait": Pause(),
        "retry": tenacity.retry_if_exception(makes_sense),
        "reraise": True,
    }
