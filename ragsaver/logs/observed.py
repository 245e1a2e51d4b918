"""What is known of the request under way when its line is written: whoever learns something notes it here.

Stages and routes note; only the outermost layer of a server or a command reads. Where nobody does, nothing is kept.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

# How a request ended; `left` by who asked.
Outcome = Literal["answered", "no answer", "done", "refused", "left", "failed"]


@dataclass(slots=True)
class Observed:
    """One request.

    :ivar contexts: texts that were put before the model, or found.
    :ivar answered: whether there was an answer; None where none was asked for, or it failed.
    :ivar problem: the type of the error that the caller got; `problem_status` is its HTTP status.
    :ivar spent: tells what it has cost so far.
    """

    tenant: str | None = None
    principal: str | None = None
    pipeline: str | None = None
    tier: str | None = None
    cache: str | None = None
    cost_usd: Decimal | None = None
    saved_usd: Decimal | None = None
    question: str | None = None
    contexts: list[str] = field(default_factory=list)
    answer: str | None = None
    answered: bool | None = None
    problem: str | None = None
    problem_status: int | None = None
    spent: Callable[[], Decimal] | None = None

    def asks(self, question: str, pipeline: str, tenant: str, principal: str | None) -> None:
        """A question is put to a pipeline."""
        self.question, self.pipeline, self.tenant, self.principal = question, pipeline, tenant, principal

    def answers(
        self, answer: str | None, *, tier: str, cost_usd: Decimal, saved_usd: Decimal, cache: str | None = None
    ) -> None:
        """The pipeline has answered; None if it found none."""
        self.answer, self.answered = answer, answer is not None
        self.tier, self.cost_usd, self.saved_usd, self.cache = tier, cost_usd, saved_usd, cache

    @property
    def ended_well(self) -> Outcome:
        """How it ended, where nothing went wrong."""
        if self.answered is None:
            return "done"
        return "answered" if self.answered else "no answer"

    def cost(self) -> Decimal | None:
        """Dollars; of what failed or was left too."""
        return self.cost_usd if self.cost_usd is not None or self.spent is None else self.spent()


def line_of(
    observed: Observed, request_id: str, outcome: Outcome, latency_ms: float, asked: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields of a request's line.

    :param asked: how it came in.
    """
    cost, saved = observed.cost(), observed.saved_usd
    return {
        "request_id": request_id,
        **asked,
        "tenant": asked.get("tenant", observed.tenant),
        "pipeline": observed.pipeline,
        "outcome": outcome,
        "problem": observed.problem,
        "tier": observed.tier,
        "cache": observed.cache,
        "cost_usd": None if cost is None else f"{cost:f}",
        "saved_usd": None if saved is None else f"{saved:f}",
        "latency_ms": round(latency_ms, 1),
    }


_current: ContextVar[Observed | None] = ContextVar("ragsaver_observed", default=None)


def current_observed() -> Observed | None:
    """Where to note; None where nobody writes a line."""
    return _current.get()


def note_contexts(texts: Iterable[str]) -> None:
    """These texts are what the model is given."""
    observed = _current.get()
    if observed is not None:
        observed.contexts = list(texts)


@contextmanager
def observing(observed: Observed) -> Iterator[Observed]:
    """Let the code inside note, threads and tasks that it starts included."""
    token = _current.set(observed)
    try:
        yield observed
    finally:
        _current.reset(token)
