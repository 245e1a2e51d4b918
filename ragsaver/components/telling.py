"""Pass on what a model streams, without addresses that nobody gave, and know whether anything was told."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

from haystack.dataclasses import StreamingChunk

from ragsaver.components.answer_links import LinkFilter


@dataclass(slots=True)
class Telling:
    """One attempt's stream on its way to who asked.

    :ivar callback: takes the chunks; None where nobody listens.
    :ivar told: whether anything was.
    :ivar began: of `time.monotonic()`.
    """

    callback: Any
    links: LinkFilter
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
        rest = self.links.rest()
        return StreamingChunk(content=rest) if rest else None

    def _clean(self, chunk: StreamingChunk) -> StreamingChunk:
        content = self.links.feed(chunk.content) if chunk.content else ""
        return chunk if content == chunk.content else replace(chunk, content=content)
