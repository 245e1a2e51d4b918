"""Cut a document by what it says, not by where it stands, so that an insertion moves only its neighbours' cuts.

Blocks are grouped within a section, and `boundaries` says where it is cut. Lists and tables may be cut between their
items and rows, paragraphs longer than a whole chunk at their sentences; code blocks and table rows are never split.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ragsaver.ingestion.blocks import Block, ParsedDocument
from ragsaver.ingestion.boundaries import parts

_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+")
_RULE = re.compile(r"^[\s:|]*-[\s:|-]*$")


class Chunk(NamedTuple):
    """A piece of a document: `text` as it stands there, `heading` the path to it, `embed_text` what is embedded.

    :ivar page: on which it begins; None where there are none.
    :ivar page_starts: where it goes over more than one: the offset in `text` at which each begins, and its number.
    """

    text: str
    heading: str
    ordinal: int
    page: int | None
    embed_text: str
    page_starts: list[list[int]] | None = None

    # The text goes through the pipe once.
    def __reduce__(self) -> tuple[Any, tuple[object, ...]]:
        if not self.embed_text.endswith(self.text):
            return Chunk, tuple(self)
        prefix = self.embed_text[: len(self.embed_text) - len(self.text)]
        return _prefixed, (prefix, self.text, self.heading, self.ordinal, self.page, self.page_starts)


def _prefixed(
    prefix: str, text: str, heading: str, ordinal: int, page: int | None, page_starts: list[list[int]] | None
) -> Chunk:
    return Chunk(text, heading, ordinal, page, prefix + text, page_starts)


class _Piece(NamedTuple):
    """What is never cut. `joiner` stands before it where it follows another; `header` where it begins a chunk."""

    text: str
    words: int
    page: int | None
    joiner: str = "\n\n"
    header: str = ""


def chunk(
    document: ParsedDocument, title: str | None, *, min_words: int, max_words: int, embed_headings: bool
) -> list[Chunk]:
    """Cut a document.

    :param title: stands before the headings in what is embedded; None where the document names none.
    :param min_words: no two cuts of a section are nearer to each other, but for those that `max_words` asks for.
    :param max_words: a chunk never has more, unless one code block or table row has.
    :returns: chunks in document order.
    """
    chunks: list[Chunk] = []
    for path, blocks in _sections(document.blocks, min_words):
        pieces = [piece for block in blocks for piece in _pieces(block, min_words, max_words)]
        heading = " > ".join(path)
        shown = " > ".join((title, *path) if title and path[:1] != (title,) else path)
        texts, words = [piece.text for piece in pieces], [piece.words for piece in pieces]
        for start, end in parts(texts, words, min_words, max_words):
            group = pieces[start:end]
            text = group[0].header + group[0].text + "".join(piece.joiner + piece.text for piece in group[1:])
            starts = _page_starts(group)
            prefix = f"{shown}\n" if embed_headings and shown else ""
            chunks.append(Chunk(text, heading, len(chunks), group[0].page, prefix + text, starts))
    return chunks


def _page_starts(pieces: Sequence[_Piece]) -> list[list[int]] | None:
    """The offsets at which pages begin in a chunk of these pieces, with their numbers; None if it is on one page."""
    starts = [[0, pieces[0].page]] if pieces[0].page is not None else []
    offset = len(pieces[0].header) + len(pieces[0].text)
    for piece in pieces[1:]:
        offset += len(piece.joiner)
        if piece.page is not None and (not starts or piece.page != starts[-1][1]):
            starts.append([offset, piece.page])
        offset += len(piece.text)
    return starts if len(starts) > 1 else None


def _sections(blocks: Sequence[Block], min_words: int) -> Iterator[tuple[tuple[str, ...], list[Block]]]:
    """Runs of blocks under one heading; a section shorter than `min_words` joins its sibling before it, on its page."""
    path: list[tuple[int, str]] = []
    held: tuple[tuple[str, ...], list[Block]] | None = None
    for heading_path, body in _headed(blocks, path):
        beside = held and held[0][:-1] == heading_path[:-1] and held[1][-1].page == body[0].page
        if held and beside and _short(body, min_words) and _short(held[1], min_words):
            named = Block("paragraph", heading_path[-1], page=body[0].page) if heading_path else None
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


def _short(blocks: Sequence[Block], min_words: int) -> bool:
    words = 0
    for block in blocks:
        words += len(block.text.split())
        if words >= min_words:
            return False
    return True


def _pieces(block: Block, min_words: int, max_words: int) -> Iterator[_Piece]:
    """A block as it is, or its items, rows or sentences if it is long."""
    whole = _Piece(block.text, len(block.text.split()), block.page)
    in_lines = block.kind in ("list", "table")
    if block.kind == "code" or whole.words <= (min_words if in_lines else max_words):
        yield whole
    elif block.kind == "table":
        yield from _rows(block)
    else:
        joiner = whole.joiner
        for part in block.text.split("\n") if in_lines else _SENTENCE_END.split(block.text):
            for text, words in _by_words(part, max_words):
                yield _Piece(text, words, block.page, joiner)
                joiner = "\n" if in_lines else " "


def _rows(table: Block) -> Iterator[_Piece]:
    """The rows of a table; each part of it that begins a chunk gets the table's head again."""
    lines = [line for line in table.text.split("\n") if line.strip()]
    named = table.header.count("\n") + 1 if table.header else 0
    head = named or (2 if len(lines) > 2 and _RULE.match(lines[1]) else 0)
    header = "\n".join(lines[:head])
    first = "\n".join(lines[: head + 1])
    yield _Piece(first, len(first.split()), table.page)
    for line in lines[head + 1 :]:
        yield _Piece(line, len(line.split()), table.page, "\n", f"{header}\n" if header else "")


def _by_words(text: str, max_words: int) -> list[tuple[str, int]]:
    """A sentence or list item with its number of words; one longer than a whole chunk is cut: the last resort."""
    words = text.split()
    if not words:
        return []
    if len(words) <= max_words:
        return [(text.strip("\n"), len(words))]
    parts = [words[start : start + max_words] for start in range(0, len(words), max_words)]
    return [(" ".join(part), len(part)) for part in parts]
