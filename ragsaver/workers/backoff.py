"""Should it be tried again, and when?"""

import random
from collections.abc import Callable

from ragsaver.errors import RagSaverError
from ragsaver.settings import QueueSettings


def backoff_s(attempts: int, limits: QueueSettings, jitter: Callable[[], float] = random.random) -> float:
    """Seconds until the next attempt: doubled with each, and between half and all of that by chance, so that
    documents that failed together do not come back together.

    :param attempts: so far, 1 or more.
    :param jitter: gives 0 to 1.
    """
    longest = min(limits.max_backoff_s, limits.backoff_s * 2.0 ** min(attempts - 1, 60))
    return longest * (0.5 + jitter() / 2)


def told(error: Exception) -> str:
    """An error as a person reads it in a job."""
    return str(error) if isinstance(error, RagSaverError) else f"{type(error).__name__}: {error}"
