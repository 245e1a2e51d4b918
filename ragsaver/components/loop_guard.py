"""Does an agent ask the same thing again and again? Then it is told so, instead of being answered for money."""

import hashlib
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ragsaver.caching.normalising import normalised
from ragsaver.components.request import Request
from ragsaver.errors import RepeatedQuestion

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import MovingWindowRateLimiter


class LoopGuard:
    """Counts, in this process, how often an asker's question had to be answered anew.

    :param limit: such as `20/minute`; None counts nothing.
    """

    def __init__(self, limit: str | None) -> None:
        self._counted = _counted(limit) if limit else None

    def ask(self, question: str, request: Request) -> None:
        """A question is about to be answered, and no cache has the answer.

        :raises RepeatedQuestion: if it was too often in that time already.
        """
        if self._counted is None or not request.guarded:
            return
        item, limiter = self._counted
        key = hashlib.sha256(json.dumps(_asked(question, request)).encode()).hexdigest()
        if limiter.hit(item, key):
            return
        again_at = limiter.get_window_stats(item, key).reset_time
        raise RepeatedQuestion(
            f"this is a loop: the same question was asked {item.amount} times in {item.get_expiry()} seconds",
            remedy="Use the answers that were given, or ask the operator to raise `server.loop_guard`",
            retry_after_s=max(0.0, again_at - time.time()),
        )


def _asked(question: str, request: Request) -> list[str | list[str] | None]:
    """What the same question has in common each time: also where an agent's own earlier rounds stand before it, so of a
    conversation only the other questions count.
    """
    own = normalised(request.asked or question)
    others = {normalised(text) for role, text in request.history if role == "user"} - {own}
    wish = replace(request, history=()).wish
    scope = request.scope
    return [scope.tenant, scope.collection, request.principal, request.pipeline, wish, sorted(others), own]


def _counted(limit: str) -> "tuple[RateLimitItem, MovingWindowRateLimiter]":
    from limits import parse
    from limits.storage import MemoryStorage
    from limits.strategies import MovingWindowRateLimiter

    return parse(limit), MovingWindowRateLimiter(MemoryStorage())
