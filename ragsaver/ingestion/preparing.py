"""One document's bytes become named chunks: convert, cut, fingerprint. Pure work on plain values, so that any
process can do it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.chunker import chunk
from ragsaver.ingestion.converters import convert
from ragsaver.ingestion.converters.limits import ConversionLimits
from ragsaver.ingestion.identity import Carried, IdentifiedChunk, identify
from ragsaver.settings import Settings

# Raise it when the converters or the chunker cut differently: documents are then cut again.
CHUNKER = "3"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How documents are cut and named; the same for all of a run.

    :param model: fingerprint of the embedding model.
    """

    model: str
    min_words: int
    max_words: int
    embed_headings: bool
    limits: ConversionLimits

    @property
    def config(self) -> str:
        """A name for it; documents that were cut by another one are stale."""
        return f"{self.model}:{CHUNKER}:{self.min_words}:{self.max_words}:{int(self.embed_headings)}"


def recipe_of(settings: Settings, model: str) -> Recipe:
    """The recipe that the settings mean.

    :param model: fingerprint of the embedding model.
    """
    cut, limits = settings.chunking, settings.ingestion
    return Recipe(
        model=model,
        min_words=cut.min_words,
        max_words=cut.max_words,
        embed_headings=cut.embed_headings,
        limits=ConversionLimits(
            max_pdf_pages=limits.max_pdf_pages,
            max_decompressed_mb=limits.max_decompressed_mb,
            max_compression_ratio=limits.max_compression_ratio,
        ),
    )


@dataclass(frozen=True, slots=True)
class Raw:
    """A document as it was read.

    :param id: of the document.
    :param format: `markdown`, `text`, `html`, ...; from the source's name if None.
    """

    id: str
    source: str
    data: bytes
    format: str | None
    recipe: Recipe
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document cut and named."""

    title: str
    chunks: tuple[IdentifiedChunk, ...]


def prepare(raw: Raw) -> Prepared:
    """Convert, cut and name a document.

    :raises UnreadableDocument: if it can't be read or holds no text.
    """
    recipe = raw.recipe
    parsed = convert(raw.source, raw.data, raw.format, limits=recipe.limits)
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
    named = identify(raw.id, chunks, Carried(raw.source, title, raw.metadata), recipe.model)
    return Prepared(title, tuple(named))
