"""One document's bytes become named chunks: convert, cut, fingerprint. Work on plain values, so that any process can
do it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ragsaver.errors import UnreadableDocument
from ragsaver.index.keys import METADATA
from ragsaver.index.words import WordSettings
from ragsaver.ingestion.chunker import chunk
from ragsaver.ingestion.converters import convert
from ragsaver.ingestion.converters.limits import ConversionLimits
from ragsaver.ingestion.identity import Carried, IdentifiedChunk, content_hash, identify
from ragsaver.ingestion.notes import Note

# Raise it when the converters or the chunker cut differently: documents are then cut again.
CHUNKER = "6"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How documents are cut and named; the same for all of a run.

    :param model: fingerprint of the embedding model.
    :param words: how BM25 sees the chunks, where the processes that cut them are to say so too.
    """

    model: str
    min_words: int
    max_words: int
    embed_headings: bool
    limits: ConversionLimits
    words: WordSettings | None = None

    @property
    def config(self) -> str:
        """A name for it; documents that were cut by another one are stale."""
        return f"{self._embedding}{self.min_words}:{self.max_words}:{int(self.embed_headings)}"

    def embeds_as(self, config: str) -> bool:
        """Whether the recipe of that name has the same embedded for the same chunk."""
        return config.startswith(self._embedding)

    @property
    def _embedding(self) -> str:
        return f"{self.model}:{CHUNKER}:"


@dataclass(frozen=True, slots=True)
class Raw:
    """A document as it was read, or as it can be.

    :param id: of the document.
    :param data: its bytes, or what reads them.
    :param format: `markdown`, `text`, `html`, ...; from the source's name if None.
    :param size: in bytes, where the listing told it.
    """

    id: str
    source: str
    data: bytes | Callable[[], bytes]
    format: str | None
    recipe: Recipe
    metadata: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document cut and named.

    :ivar size: of what was read, in bytes.
    :ivar payload_bytes: what its points carry beside the vectors: texts, headings, title, source and metadata.
    :ivar notes: of what was read and is not in the chunks.
    """

    title: str
    chunks: tuple[IdentifiedChunk, ...]
    size: int
    content_hash: str
    payload_bytes: int
    notes: tuple[Note, ...] = ()


def prepare(raw: Raw) -> Prepared:
    """Convert, cut and name a document.

    :raises UnreadableDocument: if it can't be read or holds no text.
    """
    recipe = raw.recipe
    data = raw.data if isinstance(raw.data, bytes) else raw.data()
    parsed = convert(raw.source, data, raw.format, limits=recipe.limits)
    chunks = chunk(
        parsed,
        parsed.title,
        min_words=recipe.min_words,
        max_words=recipe.max_words,
        embed_headings=recipe.embed_headings,
    )
    if not chunks:
        raise UnreadableDocument(
            "holds headings only, no text", where=raw.source, remedy="Leave it out, or give it some"
        )
    # A file's name is shown where the document has no title; it is not embedded, so that renaming costs nothing.
    title = parsed.title or PurePosixPath(raw.source).stem
    named = identify(raw.id, chunks, Carried(raw.source, title, raw.metadata), recipe.model, recipe.words)
    return Prepared(title, tuple(named), len(data), content_hash(data), _payload_bytes(named), parsed.notes)


def _payload_bytes(named: Sequence[IdentifiedChunk]) -> int:
    shared = named[0].payload
    metadata = json.dumps(shared.get(METADATA, {}), default=str)
    each = _bytes(shared["title"]) + _bytes(shared["source"]) + _bytes(metadata)
    return sum(each + _bytes(one.payload["heading"]) + _bytes(one.chunk.text) for one in named)


def _bytes(text: str) -> int:
    return len(text.encode())
