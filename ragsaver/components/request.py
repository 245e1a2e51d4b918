"""Who asks, and on whose account: travels beside the pipeline in a context variable, like a trace span."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from ragsaver.index.protocol import Scope


@dataclass(frozen=True, slots=True)
class Request:
    """The identity of one question."""

    scope: Scope = Scope("default", "default")
    principal: str | None = None
    groups: frozenset[str] = frozenset()
    deadline: float | None = None
    request_id: str = field(default_factory=lambda: f"req_{uuid.uuid4().hex}")


_current: ContextVar[Request | None] = ContextVar("ragsaver_request", default=None)


def current_request() -> Request | None:
    """The running request; None where a pipeline runs outside RAGSaver."""
    return _current.get()


@contextmanager
def running(request: Request) -> Iterator[Request]:
    """Make `request` the current one for the code inside."""
    token = _current.set(request)
    try:
        yield request
    finally:
        _current.reset(token)
