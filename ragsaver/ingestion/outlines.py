"""What is a document about, heading by heading? Its heading tree, with the most central sentence of each section, or
a summary that a language model made of it (`summaries`).

Nothing is paid for the sentence: the chunk that stands for a section is the one whose vector is nearest to the
others', and the sentence that stands for the chunk is the one that shares most stems with the others (degree
centrality: Erkan & Radev, LexRank, 2004, section 3.1). A section whose chunks are the same keeps its sentence.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragsaver.ingestion.identity import IdentifiedChunk
from ragsaver.sentences import STOP_WORDS, listed, prose, small_words

# Raise it when the same chunks give another outline: documents are then outlined again.
OUTLINER = "1"

# Between the names of a heading's path, as the chunker joins them.
_JOINER = " > "
# Where the chunks nearest to the section's middle are all code or tables, a look at more of them seldom helps.
_LOOK_AT = 3
# A word's first five letters stand for its stem. A stemmer would take longer than all the rest of an outline, and
# would choose the same sentence 97 times of 100 (on the 2,623 sections of a documentation of 437 files).
_STEM = 5
_STOP_STEMS = frozenset(word[:_STEM] for word in STOP_WORDS)
# A machine may differ in the last digits, and of equals the first is to win.
_DIGITS = 5
_ENDS = (".", "!", "?", "。", "！", "？")
_CLOSING = "\"'”’)]*_`"


@dataclass(frozen=True, slots=True)
class OutlineLine:
    """One heading, or the text before the first one.

    :ivar level: depth in the tree from 1; 0 for text before any heading.
    :ivar sentence: a verbatim slice of one of its chunks, or a summary of them; empty where it has no text of its own,
        or only code.
    :ivar chunk_ids: points of its own text, in document order; those of the headings below it are theirs.
    :ivar ordinal: of the first chunk of its own or below it.
    :ivar summarised: the name of the summary that `sentence` is; empty where it is the document's own.
    """

    level: int
    heading: str
    sentence: str
    chunk_ids: tuple[str, ...]
    ordinal: int
    summarised: str = ""


@dataclass(frozen=True, slots=True)
class Outline:
    """The lines of a document, in document order.

    :ivar summariser: by which every long section is summarised; empty if none is, or one lacks its summary.
    """

    title: str
    lines: tuple[OutlineLine, ...]
    summariser: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a language model said of a section, and its name: `hash` of model, instructions and text."""

    text: str
    hash: str


def outline(
    title: str,
    chunks: Sequence[IdentifiedChunk],
    vectors: Mapping[str, NDArray[np.float32]],
    before: Outline | None = None,
    summaries: Mapping[tuple[str, ...], Summary] = MappingProxyType({}),
) -> Outline:
    """The outline of a document.

    :param chunks: all of them, in document order.
    :param vectors: (dim,) float32 each, L2-normalised, by `prints.embedded`: those of `deciding` count. A chunk
        whose vector is not there comes last.
    :param before: of the document's old version: sections with the same chunks keep their sentence.
    :param summaries: of sections, by their chunks; they win.
    """
    known = _sentences(before)
    lines: list[OutlineLine] = []
    path: tuple[str, ...] = ()
    for names, section in sections(chunks):
        ids = tuple(one.id for one in section)
        ordinal = section[0].chunk.ordinal
        # headings above this one that have no text of their own; one that has come before is not repeated
        known_to = 0
        while known_to < min(len(path), len(names) - 1) and path[known_to] == names[known_to]:
            known_to += 1
        for depth in range(known_to, len(names) - 1):
            lines.append(OutlineLine(depth + 1, names[depth], "", (), ordinal))
        if ids in summaries:
            sentence, summarised = summaries[ids].text, summaries[ids].hash
        else:
            sentence, summarised = known[ids] if ids in known else (_central(section, vectors), "")
        lines.append(OutlineLine(len(names), names[-1] if names else "", sentence, ids, ordinal, summarised))
        path = names
    return Outline(title, tuple(lines))


def deciding(chunks: Sequence[IdentifiedChunk], before: Outline | None = None) -> list[IdentifiedChunk]:
    """The chunks whose vectors `outline` looks at: of sections that are new, where there are more than two."""
    known = _sentences(before)
    new = [section for _, section in sections(chunks) if tuple(one.id for one in section) not in known]
    return [one for section in new if len(section) > 2 for one in section]


def render(outline: Outline, max_tokens: int, count: Callable[[str], int]) -> str:
    """An outline as text; what is too much is left out, the deepest lines first, of equally deep ones the last.

    :param max_tokens: ceiling for the whole text; 0 for no ceiling.
    :param count: tokens of a text.
    """
    lines = [_line(line) for line in outline.lines]
    named = bool(outline.lines) and outline.lines[0].level == 1 and outline.lines[0].heading == outline.title
    head = "" if named else f"{outline.title}\n"
    if not max_tokens:
        return head + "".join(lines)
    order = sorted(range(len(lines)), key=lambda n: (outline.lines[n].level, n))
    left = max_tokens - count(head)
    taken = 0
    while taken < len(order) and (left := left - count(lines[order[taken]])) >= 0:
        taken += 1
    # the tokens of a whole text may be a few more than those of its lines
    while count(text := head + "".join(lines[n] for n in sorted(order[:taken]))) > max_tokens:
        if not taken:
            return ""
        taken -= 1
    return text


def central_sentence(text: str) -> tuple[str, bool]:
    """The sentence of a text that shares most with the others, and whether it is one: verbatim, ends as one ends.

    List items stand in where there is no running text, then the first row of a table; code never does.
    """
    running = prose(text)
    whole = [sentence for sentence in running if sentence.rstrip(_CLOSING).endswith(_ENDS)]
    if whole:
        return _most_central(whole), True
    lines = running or listed(text)
    others = [line for line in lines if not line.startswith("|")] or lines[:1]
    return _most_central(others), False


def to_json(outline: Outline) -> dict[str, Any]:
    """As the manifest keeps it."""
    lines = [
        [line.level, line.heading, line.sentence, line.chunk_ids, line.ordinal, *filter(None, [line.summarised])]
        for line in outline.lines
    ]
    return {"title": outline.title, "lines": lines}


def from_json(kept: Mapping[str, Any]) -> Outline:
    """What `to_json` gave, from JSON."""
    lines = (
        OutlineLine(level, heading, sentence, tuple(chunk_ids), ordinal, *summarised)
        for level, heading, sentence, chunk_ids, ordinal, *summarised in kept["lines"]
    )
    return Outline(kept["title"], tuple(lines))


def sections(chunks: Sequence[IdentifiedChunk]) -> Iterator[tuple[tuple[str, ...], list[IdentifiedChunk]]]:
    """Neighbouring chunks under one heading, with the path to it."""
    for heading, section in groupby(chunks, key=lambda one: one.chunk.heading):
        yield tuple(heading.split(_JOINER)) if heading else (), list(section)


def _sentences(before: Outline | None) -> dict[tuple[str, ...], tuple[str, str]]:
    """Sentences, and what they summarise, by the chunks they stand for: a chunk's id says exactly what its text is."""
    lines = before.lines if before else ()
    return {line.chunk_ids: (line.sentence, line.summarised) for line in lines if line.chunk_ids}


def _central(section: Sequence[IdentifiedChunk], vectors: Mapping[str, NDArray[np.float32]]) -> str:
    fallback = ""
    for one in _by_centrality(section, vectors)[:_LOOK_AT]:
        sentence, is_one = central_sentence(one.chunk.text)
        if is_one:
            return sentence
        fallback = fallback or sentence
    return fallback


def _by_centrality(
    section: Sequence[IdentifiedChunk], vectors: Mapping[str, NDArray[np.float32]]
) -> Sequence[IdentifiedChunk]:
    """The most central chunk first: highest mean cosine to the section's other chunks. Two are equally central."""
    if len(section) <= 2:
        return section
    there = [n for n, one in enumerate(section) if one.prints.embedded in vectors]
    if not there:
        return section
    rows = np.array([vectors[section[n].prints.embedded] for n in there])
    # the cosines to all chunks, itself included, which adds 1 to each sum
    worth = dict(zip(there, (rows @ rows.sum(axis=0)).round(_DIGITS).tolist(), strict=True))
    order = sorted(range(len(section)), key=lambda n: (-worth.get(n, -math.inf), n))
    return [section[n] for n in order]


def _most_central(sentences: Sequence[str]) -> str:
    """The highest sum of cosines between sets of stems; of equals, and of two that are all there is, the first."""
    if len(sentences) <= 2:
        return sentences[0] if sentences else ""
    stems = [{word[:_STEM] for word in small_words(sentence)} - _STOP_STEMS for sentence in sentences]
    shares = [1 / math.sqrt(len(some) or 1) for some in stems]
    mass: dict[str, float] = {}
    for some, share in zip(stems, shares, strict=True):
        for stem in some:
            mass[stem] = mass.get(stem, 0.0) + share
    worth = [
        round(share * sum(map(mass.__getitem__, some)), _DIGITS) for some, share in zip(stems, shares, strict=True)
    ]
    return sentences[worth.index(max(worth))]


def _line(line: OutlineLine) -> str:
    indent = "  " * max(line.level - 1, 0)
    said = " ".join(line.sentence.split())
    parts = [part for part in (line.heading, said) if part]
    return f"{indent}- {': '.join(parts)}\n" if parts else ""
