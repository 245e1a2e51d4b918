"""Who asks, and on whose account: travels beside the pipeline in a context variable, like a trace span."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from ragsaver.components.caller import Caller
from ragsaver.deadline import due, time_left_s
from ragsaver.errors import DeadlineExceeded
from ragsaver.index.scope import Reader, Scope
from ragsaver.spend.pacing import UNPRESSED, Pace

if TYPE_CHECKING:
    from ragsaver.components.answer_schema import AnswerSchema

Caching = Literal["use", "refresh", "off"]
Quality = Literal["minimum", "balanced", "maximum"]


@dataclass(frozen=True, slots=True)
class Request:
    """The identity of one question, and the clock of its stages (milliseconds by stage).

    :ivar scope: what it may see; never from what the caller sent.
    :ivar caching: `refresh` makes the answer anew and keeps it, `off` has nothing to do with caches.
    :ivar principal: in whose name it is asked, by the key; None for the settings' own user.
    :ivar deadline: of `time.monotonic()`, after which nobody waits for the answer.
    :ivar max_cost: dollars that the answer may cost; None leaves that to the budgets.
    :ivar quality: what the asker wishes: the cheapest answer that will do, or the best one.
    :ivar history: earlier turns, oldest first: role (`user` or `assistant`) and text.
    :ivar asked: the question in the asker's own words, where it is a follow-up and components get it made whole.
    :ivar max_output_tokens: of the answer, where the asker wants fewer than the model's settings allow.
    :ivar response_schema: that the answer has to fit, as JSON; None for one in words.
    :ivar pipeline: that answers it; the engine says which.
    :ivar pace: what its budgets leave it; the engine says.
    :ivar guarded: whether it may be refused as a loop.
    :ivar on_rung: told which rung of the ladder serves it as soon as that is known, and again if another one answers.
    :ivar charged_as: under which id, where that is not its own: there is no receipt of it.
    :ivar caller: who may leave while a thread makes the answer; None where nobody can, or a task makes it.
    """

    scope: Scope
    principal: str | None = None
    deadline: float | None = None
    caching: Caching = "use"
    request_id: str = field(default_factory=lambda: f"req_{uuid.uuid4().hex}")
    stage_ms: dict[str, float] = field(default_factory=dict)
    max_cost: Decimal | None = None
    quality: Quality = "balanced"
    history: tuple[tuple[str, str], ...] = ()
    max_output_tokens: int | None = None
    asked: str | None = None
    response_schema: "AnswerSchema | None" = None
    pipeline: str | None = None
    pace: Pace = UNPRESSED
    guarded: bool = False
    charged_as: str | None = None
    on_rung: Callable[[str], None] | None = field(default=None, repr=False, compare=False)
    caller: Caller | None = field(default=None, repr=False, compare=False)

    def by(self, within_s: float) -> float:
        """So many seconds from now by `time.monotonic()`, or its deadline where that is sooner."""
        until = time.monotonic() + within_s
        return until if self.deadline is None else min(until, self.deadline)

    @property
    def wish(self) -> str:
        """All that decides about the answer beside question and scope: answers to other wishes are other answers."""
        schema = [self.response_schema.on_the_wire] if self.response_schema else []
        wished = (self.max_cost, self.quality, self.history, self.max_output_tokens)
        if not schema and wished == (None, "balanced", (), None):
            return ""
        return json.dumps([str(self.max_cost), self.quality, self.history, self.max_output_tokens, *schema])


_current: ContextVar[Request | None] = ContextVar("ragsaver_request", default=None)


def current_request() -> Request | None:
    """The running request; None where a pipeline runs outside RAGSaver."""
    return _current.get()


def current_tenant() -> str:
    """Whose the running request is; empty outside of one."""
    request = _current.get()
    return "" if request is None else request.scope.tenant


def current_reader() -> Reader:
    """Who asks the running request, as far as that decides what is seen: what is remembered of questions and
    conversations is his.
    """
    request = _current.get()
    return None if request is None else request.scope.reader


def current_caller() -> Caller | None:
    """Who may leave while a thread makes the running request's answer."""
    request = _current.get()
    return None if request is None else request.caller


def require_time() -> None:
    """:raises DeadlineExceeded: if the running request has no time left: nothing more is spent on it."""
    left_s = time_left_s()
    if left_s is not None and left_s <= 0:
        raise DeadlineExceeded(
            "there was no time left to answer",
            remedy="Allow for more: `query.deadline_s`, or the header X-RagSaver-Deadline",
        )


def current_pace() -> Pace:
    """What the running request's budgets leave it."""
    request = _current.get()
    return UNPRESSED if request is None else request.pace


@contextmanager
def running(request: Request) -> Iterator[Request]:
    """Make `request` the current one for the code inside."""
    token = _current.set(request)
    try:
        with due(request.deadline):
            yield request
    finally:
        _current.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Time one stage of the running request; stages of the same name add up."""
    request = _current.get()
    started = time.perf_counter()
    try:
        yield
    finally:
        if request is not None:
            spent_ms = (time.perf_counter() - started) * 1000
            request.stage_ms[name] = request.stage_ms.get(name, 0.0) + spent_ms
