"""Pass on what a model streams, its citations plain, without those that cite nothing and addresses that nobody gave;
know if anything was told."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

from haystack.dataclasses import StreamingChunk

from ragsaver.components.answer_links import LinkFilter
from ragsaver.components.cascade import Refused
from ragsaver.components.citations import CitationReader
from ragsaver.errors import BudgetExceeded, GenerationError, GenerationLate, RagSaverError


@dataclass(slots=True)
class Telling:
    """One attempt's stream on its way to who asked.

    :ivar callback: takes the chunks; None where nobody listens.
    :ivar citations: reads those of an answer in words; None where it is to be JSON.
    :ivar told: whether anything was.
    :ivar began: of `time.monotonic()`.
    """

    callback: Any
    links: LinkFilter
    citations: CitationReader | None = None
    told: bool = False
    began: float = field(default_factory=time.monotonic)

    def __call__(self, chunk: StreamingChunk) -> None:
        """Pass a chunk on."""
        self.told = self.told or bool(chunk.content)
        self.callback(self._clean(chunk))

    async def hear(self, chunk: StreamingChunk) -> None:
        """The same on an event loop."""
        self.told = self.told or bool(chunk.content)
        await self.callback(self._clean(chunk))

    def rest(self) -> StreamingChunk | None:
        """What was held back."""
        held = self.citations.rest() if self.citations else ""
        rest = self.links.feed(held) + self.links.rest()
        return StreamingChunk(content=rest) if rest else None

    def _clean(self, chunk: StreamingChunk) -> StreamingChunk:
        content = self.citations.feed(chunk.content) if self.citations else chunk.content
        content = self.links.feed(content) if content else ""
        return chunk if content == chunk.content else replace(chunk, content=content)


def refused(error: RagSaverError | TimeoutError, model: str, telling: Telling) -> Refused:
    """A call that gave no answer, as the cascade sees it.

    :param error: a TimeoutError where there was no free slot in time.
    """
    if isinstance(error, TimeoutError):
        error = GenerationLate(
            "had no free slot before the request's deadline",
            where=model,
            remedy="Raise `concurrency` of the model, or try again later",
        )
    return Refused(
        error, telling.told, elsewhere=isinstance(error, GenerationError), for_want=isinstance(error, BudgetExceeded)
    )
