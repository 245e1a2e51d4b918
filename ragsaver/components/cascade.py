"""Which model is asked next: decides, step by step, and leaves the asking to its caller.

Each tier is asked once at most. An answer below the last permitted step is checked, and a better tier asked only if it
fails; an endpoint that fails hands the question to a neighbour by policy. Nothing here waits or calls, so the same
decisions serve threads and event loops.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from ragsaver.components.answer_check import Failure
from ragsaver.components.chat_reply import ChatReply
from ragsaver.errors import RagSaverError

FREE = -1  # the place of the free tier, below the models


@dataclass(frozen=True, slots=True)
class Rung:
    """A model's tier as the cascade sees it.

    :ivar skipped: why it can't be asked this question; None if it can.
    """

    name: str
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What the cascade may do.

    :ivar free_answers: the free tier has an answer to fall back on.
    :ivar hold: no answer is told before it is checked, the last one neither.
    :ivar free_for_want: it is given where a budget has no room for the cheapest model.
    """

    max_escalations: int
    fallback: Literal["up", "down", "none"]
    stream_unchecked: bool = False
    free_answers: bool = False
    hold: bool = False
    free_for_want: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call to make.

    :ivar place: of the tier, from 0.
    :ivar live: nothing can take its answer back, so it may be streamed as it comes.
    :ivar why: for the receipt.
    """

    place: int
    live: bool
    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A call that gave no answer.

    :ivar told: parts of the answer have been streamed to the caller.
    :ivar elsewhere: another endpoint might do it. Where not so, a budget refused: a cheaper model may still fit.
    :ivar for_want: a budget had no room for it.
    """

    error: RagSaverError
    told: bool = False
    elsewhere: bool = True
    for_want: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer that is given.

    :ivar place: of its tier; `FREE` for the free one, whose answer the caller has.
    :ivar reply: None where the free tier answers.
    :ivar reason: why this tier, in words.
    :ivar doubt: why the answer should be read with care; None if nothing speaks against it.
    :ivar streamed: it came live, so that the caller has heard it.
    :ivar lowered: a better tier would have answered, had it not failed.
    :ivar for_want: the free tier answers since a budget had no room for a model.
    """

    place: int
    reply: ChatReply | None
    reason: str
    doubt: str | None = None
    streamed: bool = False
    lowered: bool = False
    for_want: bool = False


@dataclass(frozen=True, slots=True)
class Course:
    """Where a question begins, and what may follow.

    :ivar start: place of the first tier, that can be asked.
    :ivar reason: why that one.
    """

    rungs: Sequence[Rung]
    start: int
    reason: str
    policy: Policy


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What would be done about a question, as far as that is known before.

    :ivar free: why the free tier answers; None if a model is asked.
    :ivar answers_free: the free tier has an answer.
    :ivar shortens: an answer that is short by its question's form may have fewer tokens.
    :ivar course: the way through the tiers, if a model is asked; None if none can be.
    """

    free: str | None
    answers_free: bool
    shortens: bool
    course: Course | None


Outcome = ChatReply | Refused
Steps = Generator[Attempt, Outcome, Finished]


@dataclass(slots=True)
class _Run:
    rungs: Sequence[Rung]
    policy: Policy
    asked: set[int] = field(default_factory=set)
    escalations: int = 0

    def above(self, place: int) -> int | None:
        """The next tier up that can be asked."""
        return next((n for n in range(place + 1, len(self.rungs)) if self._can(n)), None)

    def below(self, place: int) -> int | None:
        """The next tier down; the free one is the last."""
        models = (n for n in range(place - 1, -1, -1) if self._can(n))
        return next(models, FREE if self.policy.free_answers else None)

    def cheaper(self, place: int) -> int | None:
        """The next model down."""
        found = self.below(place)
        return None if found == FREE else found

    def within_budget(self, place: int, for_want: bool) -> int | None:
        """The next tier down for a call that is not made; the free one only where a budget had no room for it."""
        return self.below(place) if for_want and self.policy.free_for_want else self.cheaper(place)

    def after_failure(self, place: int) -> int | None:
        """Where the question goes by policy; above the strongest model there is only the next one down."""
        if self.policy.fallback == "none":
            return None
        if self.policy.fallback == "down":
            return self.below(place)
        above = self.above(place)
        return self.cheaper(place) if above is None else above

    def next_up(self, place: int) -> int | None:
        """Where an answer that fails would go; None if that is not allowed, or nothing is there."""
        return self.above(place) if self.escalations < self.policy.max_escalations else None

    def _can(self, place: int) -> bool:
        return place not in self.asked and self.rungs[place].skipped is None


def start_at(wanted: int, rungs: Sequence[Rung]) -> tuple[int, str] | None:
    """The wanted tier, or the nearest that can be asked (upwards first), and why it is not the wanted one.

    :returns: None if none can.
    """
    order = [*range(wanted, len(rungs)), *range(wanted - 1, -1, -1)]
    for place in order:
        if rungs[place].skipped is None:
            passed = order[: order.index(place)]
            return place, "; ".join(f"{rungs[n].name} was passed over: {rungs[n].skipped}" for n in passed)
    return None


def dearest_way(course: Course, costs: Sequence[Decimal], starts: Iterable[int]) -> Decimal:
    """What the tiers cost together on the dearest way that `cascade` may take through them.

    :param costs: of each tier, where it is asked.
    :param starts: places where it may begin.
    """
    known: dict[tuple[int, frozenset[int], int], Decimal] = {}

    def way(place: int, before: frozenset[int], escalations: int) -> Decimal:
        key = place, before, escalations
        if key not in known:
            run = _Run(course.rungs, course.policy, {*before, place}, escalations)
            asked = before | {place}
            failed = {run.after_failure(place), run.within_budget(place, for_want=True), run.cheaper(place)}
            rest = [way(after, asked, escalations) for after in failed if after is not None and after != FREE]
            if (higher := run.next_up(place)) is not None:
                rest.append(way(higher, asked, escalations + 1))
            known[key] = costs[place] + max(rest, default=Decimal(0))
        return known[key]

    return max((way(start, frozenset(), 0) for start in starts), default=Decimal(0))


def cascade(
    rungs: Sequence[Rung],
    start: int,
    reason: str,
    policy: Policy,
    check: Callable[[ChatReply], Failure | None],
    time_for_more: Callable[[], bool],
) -> Steps:
    """Yield one attempt after the other, be sent what became of it, return the answer.

    :param start: place of the first tier, that can be asked.
    :param reason: why that one.
    :param check: what speaks against an answer.
    :param time_for_more: whether the deadline leaves time for another call.
    :raises RagSaverError: of the last attempt, where no answer is left to give.
    """
    run = _Run(rungs, policy)
    place, why = start, reason
    kept: Finished | None = None
    lowered = False
    while True:
        run.asked.add(place)
        higher = run.next_up(place)
        live = not policy.hold and (higher is None or policy.stream_unchecked)
        outcome = yield Attempt(place, live, why)
        name = rungs[place].name
        if isinstance(outcome, Refused):
            problem = f"{name} failed: {outcome.error.problem}"
            if kept is not None and not outcome.told:
                return Finished(kept.place, kept.reply, f"{kept.reason}; {problem}", kept.doubt)
            fallback = run.after_failure(place) if outcome.elsewhere else run.within_budget(place, outcome.for_want)
            if outcome.told or fallback is None or not time_for_more():
                raise outcome.error
            why = f"{why}; {problem}: fell back {'up' if fallback > place else 'down'}"
            if fallback == FREE:
                return Finished(FREE, None, why, lowered=True, for_want=outcome.for_want)
            lowered = lowered or fallback < place
            place = fallback
            continue
        failure = None if live else check(outcome)
        if kept is not None and higher is None and failure is not None and not failure.usable:
            return Finished(kept.place, kept.reply, f"{kept.reason}; {name} failed: {failure.reason}", kept.doubt)
        if failure is None or higher is None:
            return Finished(place, outcome, why, streamed=live, lowered=lowered)
        doubt = f"the {name} model's answer failed its check: {failure.reason}"
        if not time_for_more():
            return Finished(place, outcome, f"{why}; no time was left to escalate", doubt)
        if failure.usable:
            kept = Finished(place, outcome, why, doubt)
        run.escalations += 1
        why = f"escalated from {name}: {failure.reason}"
        place = higher
