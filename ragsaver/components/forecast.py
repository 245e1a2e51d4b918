"""Only the cost of an answer is asked for: calls that would cost money are noted with their price, and not made."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal

from ragsaver.spend.receipt import ZERO


@dataclass(slots=True)
class Forecast:
    """What a request may cost beside the calls for its answer.

    :ivar most_usd: dollars at most.
    :ivar more_tokens: that its prompt may have on top of the one that is built.
    :ivar other_passages: a call that was not made decides about its passages.
    :ivar reasons: what it would be for, in words.
    """

    most_usd: Decimal = ZERO
    more_tokens: int = 0
    other_passages: bool = False
    reasons: list[str] = field(default_factory=list)

    def note(self, most_usd: Decimal, reason: str) -> None:
        """One more thing to pay for."""
        if most_usd:
            self.most_usd += most_usd
            self.reasons.append(reason)


_current: ContextVar[Forecast | None] = ContextVar("ragsaver_forecast", default=None)


def current_forecast() -> Forecast | None:
    """The running one; None where the question is answered."""
    return _current.get()


@contextmanager
def forecasting() -> Iterator[Forecast]:
    """Let nothing be called that costs money, for the code inside."""
    forecast = Forecast()
    token = _current.set(forecast)
    try:
        yield forecast
    finally:
        _current.reset(token)
