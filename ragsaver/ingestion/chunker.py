"""Cut a document by what it says, not by where it stands, so that an insertion moves only its neighbours' cuts.

Blocks are grouped within a section. A group may end after a block whose own hash says so (content-defined
chunking, Muthitacharoen et al. 2001), between a minimum and a maximum of words. A block that is too long by
itself is cut at its sentences or lines by the same rule; code blocks and table rows are never split.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import xxhash

from ragsaver.ingestion.blocks import Block, ParsedDocument

# One block in so many may end a chunk: with paragraphs of 30 to 60 words a cut comes soon after the minimum.
CUT_ONE_IN = 2

_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document: `text` as it stands there, `heading` the path to it, `embed_text` what is embedded."""

    text: str
    heading: str
    ordinal: int
    page: int | None
    embed_text: str


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    words: int
    page: int | None
    joiner: str


def chunk(document: ParsedDocument, title: str, *, min_words: int, max_words: int, embed_headings: bool) -> list[Chunk]:
    """Cut a document.

    :param title: stands before the headings in what is embedded.
    :param min_words: a chunk is not ended by a hash before it has so many.
    :param max_words: a chunk never has more, unless one code block or table row has.
    :returns: chunks in document order.
    """
    chunks: list[Chunk] = []
    for path, blocks in _sections(document.blocks, min_words):
        pieces = [piece for block in blocks for piece in _pieces(block, max_words)]
        heading = " > ".join(path)
        shown = heading if path[:1] == (title,) else " > ".join((title, *path))
        for group in _groups(pieces, min_words, max_words):
            text = "".join(piece.text if n == 0 else piece.joiner + piece.text for n, piece in enumerate(group))
            prefix = f"{shown}\n" if embed_headings and shown else ""
            chunks.append(Chunk(text, heading, len(chunks), group[0].page, prefix + text))
    return chunks


def _sections(blocks: Sequence[Block], min_words: int) -> Iterator[tuple[tuple[str, ...], list[Block]]]:
    """Runs of blocks under one heading; a section shorter than `min_words` joins its sibling before it."""
    path: list[tuple[int, str]] = []
    held: tuple[tuple[str, ...], list[Block]] | None = None
    for heading_path, body in _headed(blocks, path):
        words = sum(len(block.text.split()) for block in body)
        if held and words < min_words and _words(held[1]) < min_words and held[0][:-1] == heading_path[:-1]:
            named = Block("paragraph", heading_path[-1]) if heading_path else None
            held[1].extend([named, *body] if named else body)
            continue
        if held:
            yield held
        held = (heading_path, list(body))
    if held:
        yield held


def _headed(blocks: Sequence[Block], path: list[tuple[int, str]]) -> Iterator[tuple[tuple[str, ...], list[Block]]]:
    body: list[Block] = []
    for block in blocks:
        if block.kind != "heading":
            body.append(block)
            continue
        if body:
            yield tuple(name for _, name in path), body
            body = []
        while path and path[-1][0] >= block.level:
            path.pop()
        path.append((block.level, block.text))
    if body:
        yield tuple(name for _, name in path), body


def _words(blocks: Sequence[Block]) -> int:
    return sum(len(block.text.split()) for block in blocks)


def _pieces(block: Block, max_words: int) -> Iterator[_Piece]:
    """A block as it is, or cut where it may be cut if it is too long."""
    words = len(block.text.split())
    if words <= max_words or block.kind == "code":
        yield _Piece(block.text, words, block.page, "\n\n")
        return
    by_line = block.kind in ("table", "list")
    parts = block.text.split("\n") if by_line else _SENTENCE_END.split(block.text)
    joiner = "\n\n"
    for part in parts:
        for text in _by_words(part, max_words) if not by_line or block.kind == "list" else [part]:
            if text.strip():
                yield _Piece(text.strip("\n"), len(text.split()), block.page, joiner)
                joiner = "\n" if by_line else " "


def _by_words(text: str, max_words: int) -> list[str]:
    """A sentence longer than a whole chunk, cut by words: the last resort."""
    words = text.split()
    if len(words) <= max_words:
        return [text]
    return [" ".join(words[start : start + max_words]) for start in range(0, len(words), max_words)]


def _groups(pieces: Sequence[_Piece], min_words: int, max_words: int) -> Iterator[list[_Piece]]:
    group: list[_Piece] = []
    size = 0
    for piece in pieces:
        if group and size + piece.words > max_words:
            yield group
            group, size = [], 0
        group.append(piece)
        size += piece.words
        if size >= min_words and ends_chunk(piece.text):
            yield group
            group, size = [], 0
    if group:
        yield group


def ends_chunk(text: str) -> bool:
    """Whether a block's own hash ends a chunk after it."""
    return xxhash.xxh3_64_intdigest(text.encode()) % CUT_ONE_IN == 0
