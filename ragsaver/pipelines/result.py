"""What a question gets back, in the shape that scripts and REST clients read."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from ragsaver.components.explain import Explained
from ragsaver.spend.pacing import Service
from ragsaver.spend.receipt import Receipt


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Citation(_Frozen):
    """Where an answer stands; `quote` is verbatim text of the source, `page` its page or slide, where there are any."""

    source: str
    heading: str
    page: int | None = None
    quote: str


class Route(_Frozen):
    """Which tier answered, and why.

    `cache` says whether the answer was there: `hit` of the same question, `semantic` of one that asks the same in
    other words, `miss`; null where no cache was asked. `tier` is the one that made the answer then. `rung` is that of
    the ladder that answers go down as a budget runs out.
    """

    tier: str
    reason: str
    rung: str = Service.FULL.told
    cache: Literal["hit", "semantic", "miss"] | None = None


class _Debuggable(_Frozen):
    """Tells what its stages decided, where that was asked for; else it has no such field."""

    debug: Explained | None = None

    @model_serializer(mode="wrap")
    def _without_empty_debug(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told: dict[str, Any] = dump(self)
        if self.debug is None:
            told.pop("debug", None)
        return told


class AskResult(_Debuggable):
    """An answer with its citations and receipt. `answer` is None where the corpus holds none; `reason` says so.

    `cut` says why an answer is not whole: it ended at its limit of tokens, or its provider's filter ended it.
    """

    answer: str | None
    reason: str | None = None
    cut: Literal["length", "content_filter"] | None = None
    citations: tuple[Citation, ...] = ()
    route: Route
    receipt: Receipt
    latency_ms: dict[str, float]
    request_id: str

    def in_one_piece(self, on_rung: Callable[[str], None] | None) -> Iterator["str | AskResult"]:
        """As a stream of one text, whose rung is told before it."""
        if on_rung is not None:
            on_rung(self.route.rung)
        if self.answer:
            yield self.answer
        yield self


class FoundPassage(_Frozen):
    """One passage of a search; `page` is that on which it begins, where there are any."""

    source: str
    heading: str
    page: int | None = None
    text: str
    score: float


class SearchResult(_Debuggable):
    """Passages, best first."""

    passages: tuple[FoundPassage, ...]
    receipt: Receipt
