"""Sentences as they stand, and the words in them: what packing and quoting work on.

Analysis is remembered by text, because the same chunks come again and again.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import snowballstemmer

# About 150 tokens. What is longer is no sentence any more, and would fill a budget or fit into none.
MAX_CHARS = 600

# A sentence ends at . ! or ? (with a closing quote or bracket) before a space and something that can begin one.
_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9])|(?<=[。！？])|\n{2,}")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|etc|e\.g|i\.e|cf|Fig|Vol|Inc|Ltd|Co|approx|ca|al)|\b[A-Z])\.$"
)
_FENCE = re.compile(r"^(```|~~~)")
_LISTED = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+|^\s*\|")
_WORD = re.compile(r"[^\W_]+")

STOP_WORDS = frozenset(
    """a about above after again all also am an and any are as at be because been before being below between both
    but by can could did do does doing down during each few for from further had has have having he her here hers
    him his how i if in into is it its itself just me more most my no nor not now of off on once only or other our
    out over own same she should so some such than that the their them then there these they this those through to
    too under until up very was we were what when where which while who whom why will with would you your""".split()
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A verbatim slice of a passage from `start` on, with the stems of its content words."""

    text: str
    start: int
    stems: Counter[str]
    length: int


def split(text: str) -> list[str]:
    """Cut a text into sentences; each is a verbatim slice without the white space around it.

    Code blocks, table rows and list items are kept whole, up to `MAX_CHARS`: then they end at a line's or word's end.
    """
    pieces: list[str] = []
    for block, is_code in _blocks(text):
        if is_code or _LISTED.match(block):
            pieces.append(block)
            continue
        start = 0
        for end in _END.finditer(block):
            if _ABBREVIATION.search(block[start : end.start()].rstrip()):
                continue
            pieces.append(block[start : end.end()])
            start = end.end()
        pieces.append(block[start:])
    return [part.strip() for piece in pieces for part in _bounded(piece) if part.strip()]


def _bounded(piece: str) -> Iterator[str]:
    while len(piece) > MAX_CHARS:
        head = piece[:MAX_CHARS]
        # a line's end if one is in the second half, else a word's, else the middle of a word
        line, word = head.rfind("\n"), head.rfind(" ")
        end = line if line >= MAX_CHARS // 2 else word if word > 0 else MAX_CHARS
        yield piece[:end]
        piece = piece[end:]
    yield piece


def _blocks(text: str) -> list[tuple[str, bool]]:
    """Runs of lines that are cut alike: a fenced block, a list item or table row, or running text."""
    blocks: list[tuple[list[str], bool]] = []
    in_code = after_gap = False
    for line in text.splitlines(keepends=True):
        fence = bool(_FENCE.match(line))
        if fence and not in_code:
            in_code = True
            blocks.append(([line], True))
        elif in_code:
            blocks[-1][0].append(line)
            in_code = not fence
        elif _LISTED.match(line) or after_gap or not blocks or blocks[-1][1]:
            blocks.append(([line], False))
        else:
            blocks[-1][0].append(line)
        after_gap = not line.strip()
    return [("".join(lines), is_code) for lines, is_code in blocks]


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """The stem of an English word (Porter 2); words of other scripts come back as they are."""
    return str(_stemmer().stemWord(word))


@lru_cache(maxsize=1)
def _stemmer() -> snowballstemmer.stemmer:
    return snowballstemmer.stemmer("english")


def content_stems(text: str) -> list[str]:
    """Stems of the words that carry meaning, in order."""
    return [stem(word) for word in _WORD.findall(text.lower()) if word not in STOP_WORDS]


@lru_cache(maxsize=8192)
def sentences(text: str) -> tuple[Sentence, ...]:
    """The sentences of a passage with their stems."""
    found: list[Sentence] = []
    start = 0
    for piece in split(text):
        start = text.index(piece, start)
        stems = content_stems(piece)
        found.append(Sentence(piece, start, Counter(stems), len(stems)))
        start += len(piece)
    return tuple(found)
