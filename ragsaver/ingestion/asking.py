"""How long is a language model asked that does not answer? A few times, inside a deadline; and not at all for a while
where several sections in a row got no answer.

Whatever an attempt took is on the bill, also where nothing came of it.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

# Sections in a row without an answer, after which nobody is asked for a while.
_GIVE_UP_AFTER = 5
_REST_S = 60.0
_BACKOFF_S = 0.5


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a language model billed; `cached_input` is not part of `input`."""

    input: int = 0
    cached_input: int = 0
    output: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.input + other.input, self.cached_input + other.cached_input, self.output + other.output)

    @property
    def total(self) -> int:
        """All of them."""
        return self.input + self.cached_input + self.output


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one attempt.

    :ivar text: empty if nothing did.
    :ivar cost_usd: that it was charged, in whole micro-dollars; None where nobody charges it.
    :ivar complete: whether the model came to an end by itself.
    :ivar problem: why there is no text.
    :ivar again: whether another attempt may succeed.
    :ivar wait_s: that the endpoint wants to be left alone before it.
    :ivar asked: false where the attempt was not made, which is no failure of the endpoint.
    """

    text: str
    tokens: Tokens = Tokens()
    complete: bool = True
    problem: str = ""
    again: bool = True
    wait_s: float | None = None
    asked: bool = True
    cost_usd: Decimal | None = None


class Summariser(Protocol):
    """A language model. It may be asked by several threads at once."""

    def worst(self, instructions: str, data: str) -> Tokens:
        """The most that one attempt is charged for, whatever comes of it."""
        ...

    def ask(self, instructions: str, data: str, timeout_s: float) -> Reply:
        """One attempt, over after `timeout_s`; what the endpoint does wrong is the reply's `problem`."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What all attempts at one section came to, `calls` of them at the endpoint; `problem` says why `text` is empty.

    :ivar tokens: of all attempts, as `cost_usd` is; `answering` are those of the one that gave the text.
    """

    text: str
    tokens: Tokens = Tokens()
    problem: str = ""
    calls: int = 0
    cost_usd: Decimal = Decimal(0)
    answering: Tokens = Tokens()


class Asking:
    """Asks a model, patiently.

    :param attempts: at one section.
    :param deadline_s: for all of them.
    :param wait: called with the seconds between two attempts; those of the clock if None.
    :param clock: seconds, never going back.
    """

    def __init__(
        self,
        attempts: int,
        deadline_s: float,
        *,
        wait: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._attempts = attempts
        self._deadline_s = deadline_s
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._clock = clock
        self._counting = threading.Lock()
        self._failed = 0
        self._resting_until = 0.0
        self._problem = ""

    def ask(self, attempt: Callable[[float], Reply]) -> Answer:
        """Ask until there is an answer, no time is left, or it makes no sense any more.

        :param attempt: makes one, over after the seconds that it is given.
        """
        with self._counting:
            if self._clock() < self._resting_until:
                return Answer("", problem=self._problem)
        answer = self._try(attempt)
        with self._counting:
            if answer.calls:
                self._failed = 0 if answer.text else self._failed + 1
            if self._failed >= _GIVE_UP_AFTER:
                self._resting_until, self._problem = self._clock() + _REST_S, answer.problem
        return answer

    def stop(self) -> None:
        """Nobody wants an answer any more: no further attempt is made."""
        self._stopped.set()

    def _try(self, attempt: Callable[[float], Reply]) -> Answer:
        end = self._clock() + self._deadline_s
        spent, cost_usd = Tokens(), Decimal(0)
        problem, calls = "nobody waits for it any more", 0
        for number in range(self._attempts):
            left_s = end - self._clock()
            if left_s <= 0 or self._stopped.is_set():
                break
            reply = attempt(left_s)
            calls += reply.asked
            spent += reply.tokens
            cost_usd += reply.cost_usd or 0
            if reply.text:
                return Answer(reply.text, spent, calls=calls, cost_usd=cost_usd, answering=reply.tokens)
            problem = reply.problem or "gave an empty answer"
            pause_s = reply.wait_s if reply.wait_s is not None else _BACKOFF_S * 2**number
            if not reply.again or number + 1 == self._attempts or self._clock() + pause_s >= end:
                break
            self._wait(pause_s)
        return Answer("", spent, problem, calls, cost_usd)
