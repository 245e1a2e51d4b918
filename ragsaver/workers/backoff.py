"""Should it be tried again, and when?"""

import random
from collections.abc import Callable

from ragsaver.errors import BudgetExceeded, RagSaverError
from ragsaver.settings import QueueSettings

# Until a budget is asked again whose period lasts longer.
LOOK_AGAIN_S = 3600.0


def backoff_s(attempts: int, limits: QueueSettings, jitter: Callable[[], float] = random.random) -> float:
    """Seconds until the next attempt: doubled with each, and between half and all of that by chance, so that
    documents that failed together do not come back together.

    :param attempts: so far, 1 or more.
    :param jitter: gives 0 to 1.
    """
    longest = min(limits.max_backoff_s, limits.backoff_s * 2.0 ** min(attempts - 1, 60))
    return longest * (0.5 + jitter() / 2)


def room_in_s(error: BudgetExceeded, limits: QueueSettings, jitter: Callable[[], float] = random.random) -> float:
    """Seconds until a budget may have room again: when it says, an hour at most since it may be raised meanwhile, and
    by chance up to `max_backoff_s` more, so that not all that wait for it come at once.
    """
    wait_s = min(error.retry_after_s or LOOK_AGAIN_S, LOOK_AGAIN_S)
    return wait_s + jitter() * min(wait_s, limits.max_backoff_s)


def told(error: Exception) -> str:
    """An error as a person reads it in a job."""
    return str(error) if isinstance(error, RagSaverError) else f"{type(error).__name__}: {error}"
