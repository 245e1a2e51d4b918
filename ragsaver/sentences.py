"""Sentences as they stand, and the words in them: what packing, quoting and outlining work on.

Analysis is remembered by text, because the same chunks come again and again; each tenant has its own, so that nobody is
served sooner for what another one has.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from Stemmer import Stemmer

REMEMBERED = 8192  # passages

# About 150 tokens. What is longer is no sentence any more, and would fill a budget or fit into none.
MAX_CHARS = 600

# A sentence ends at . ! or ? (with a closing quote or bracket) before a space and something that can begin one.
# One set of characters stands in front, so that a search can skip to the next of them.
_END = re.compile(r"[.!?。！？\n](?:(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9])|(?<=[。！？])|(?<=\n)\n+)")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|etc|e\.g|i\.e|cf|Fig|Vol|Inc|Ltd|Co|approx|ca|al)|\b[A-Z])\.$"
)
_LOOK_BACK = 16  # characters, more than any abbreviation has
_FENCES = ("```", "~~~")
_LISTED = re.compile(r"[^\S\n]*(?:(?:[-*+]|\d+[.)])\s|\|)")
_Kind = Literal["prose", "listed", "code"]
_WORD = re.compile(r"[^\W_]+")
# The same of ASCII, in small letters: to put spaces for all else and split takes a quarter of the time.
_SMALL_WORDS = bytes(ord(chr(code).lower()) if chr(code).isalnum() else ord(" ") for code in range(128)) + bytes(128)
_STEMMER = Stemmer("english", 0)  # `stem` remembers

STOP_WORDS = frozenset(
    """a about above after again all also am an and any are as at be because been before being below between both
    but by can could did do does doing down during each few for from further had has have having he her here hers
    him his how i if in into is it its itself just me more most my no nor not now of off on once only or other our
    out over own same she should so some such than that the their them then there these they this those through to
    too under until up very was we were what when where which while who whom why will with would you your""".split()
)


class Sentence(NamedTuple):
    """A verbatim slice of a passage from `start` on.

    :ivar length: content words.
    :ivar listed: whether it is a list item or table row.
    :ivar code: whether it begins a block of code.
    """

    text: str
    start: int
    length: int
    listed: bool
    code: bool


class Sentences(tuple[Sentence, ...]):
    """Those of a passage.

    :ivar places: for each stem of their content words, the positions of the sentences that have it, each as often as it
        stands there.
    :ivar shapes: (sentences, 3) int32, the `length`, `listed` and `code` of each.
    :ivar tokens: of each, by the name of who counted them.
    """

    places: Mapping[str, Sequence[int]]
    shapes: NDArray[np.int32]
    tokens: dict[str, Sequence[int]]

    @classmethod
    def of(cls, text: str) -> "Sentences":
        """Those of a text."""
        cut: list[Sentence] = []
        places: dict[str, tuple[int, ...]] = {}
        start = 0
        for place, piece in enumerate(split(text)):
            start = text.index(piece, start)
            stems = content_stems(piece)
            for one in stems:
                places[one] = (*places.get(one, ()), place)
            is_listed, is_code = bool(_LISTED.match(piece)), piece.startswith(_FENCES)
            cut.append(Sentence(piece, start, len(stems), is_listed, is_code))
            start += len(piece)
        found = cls(cut)
        found.places, found.tokens = places, {}
        found.shapes = np.array([one[2:] for one in cut], dtype=np.int32).reshape(-1, 3)
        return found


def split(text: str) -> list[str]:
    """Cut a text into sentences; each is a verbatim slice without the white space around it.

    Code blocks, table rows and list items are kept whole, up to `MAX_CHARS`: then they end at a line's or word's end.
    """
    found: list[str] = []
    for block, kind in _blocks(text):
        if kind == "prose":
            found += _prose(block)
        else:
            found.append(block)
    return _bounded(found)


def prose(text: str) -> list[str]:
    """The sentences of running text only: without code blocks, list items and table rows."""
    found: list[str] = []
    for block, kind in _blocks(text):
        if kind == "prose":
            found += _prose(block)
    return _bounded(found)


def listed(text: str) -> list[str]:
    """The list items and table rows."""
    return _bounded(block for block, kind in _blocks(text) if kind == "listed")


def _prose(block: str) -> list[str]:
    found: list[str] = []
    start = 0
    for end in _END.finditer(block):
        before = end.start() + 1
        if not _ABBREVIATION.search(block[max(start, before - _LOOK_BACK) : before].rstrip()):
            found.append(block[start : end.end()])
            start = end.end()
    found.append(block[start:])
    return found


def _bounded(pieces: Iterable[str]) -> list[str]:
    """The pieces without the white space around them, the long ones cut."""
    found: list[str] = []
    for piece in pieces:
        if len(piece) > MAX_CHARS:
            found += [part.strip() for part in _cut(piece)]
        else:
            found.append(piece.strip())
    return [piece for piece in found if piece]


def _cut(piece: str) -> Iterator[str]:
    while len(piece) > MAX_CHARS:
        head = piece[:MAX_CHARS]
        # a line's end if one is in the second half, else a word's, else the middle of a word
        line, word = head.rfind("\n"), head.rfind(" ")
        end = line if line >= MAX_CHARS // 2 else word if word > 0 else MAX_CHARS
        yield piece[:end]
        piece = piece[end:]
    yield piece


def _blocks(text: str) -> Iterator[tuple[str, _Kind]]:
    """Runs of lines that are cut alike: a fenced block, a list item or table row, or running text."""
    begun: tuple[int, _Kind] | None = None
    kind: _Kind
    at, alone = 0, True
    while at < len(text):
        end = text.find("\n", at) + 1 or len(text)
        if text.startswith(_FENCES, at):
            kind = "code"
            closing = [found for fence in _FENCES if (found := text.find(f"\n{fence}", end - 1)) >= 0]
            end = (text.find("\n", min(closing) + 1) + 1 if closing else 0) or len(text)
        else:
            # the first test spares most lines the second
            kind = "listed" if not text[at].isalpha() and _LISTED.match(text, at) else "prose"
        if alone or kind != "prose":
            if begun:
                yield text[begun[0] : at], begun[1]
            begun = (at, kind)
        alone = kind == "code" or text[at:end].isspace()
        at = end
    if begun:
        yield text[begun[0] :], begun[1]


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """The stem of an English word (Porter 2); words of other scripts come back as they are."""
    return str(_STEMMER.stemWord(word))


def content_stems(text: str) -> list[str]:
    """Stems of the words that carry meaning, in order."""
    return [stem(word) for word in small_words(text) if word not in STOP_WORDS]


def stems_in(text: str) -> set[str]:
    """The same, each once."""
    return set(map(stem, set(small_words(text)) - STOP_WORDS))


def small_words(text: str) -> list[str]:
    """Its words in small letters, in order."""
    if text.isascii():
        return text.encode().translate(_SMALL_WORDS).decode().split()
    return _WORD.findall(text.lower())


@lru_cache(maxsize=REMEMBERED)
def sentences(text: str, tenant: str) -> Sentences:
    """The sentences of a passage, with their stems.

    :param tenant: whose passage it is.
    """
    return Sentences.of(text)
