"""Sentences as they stand, and the words in them: what packing, quoting and outlining work on."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal

from Stemmer import Stemmer

# About 150 tokens. What is longer is no sentence any more, and would fill a budget or fit into none.
MAX_CHARS = 600

# A sentence ends at . ! or ? (with a closing quote or bracket) before a space and something that can begin one.
# One set of characters stands in front, so that a search can skip to the next of them.
_END = re.compile(r"[.!?。！？\n](?:(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9])|(?<=[。！？])|(?<=\n)\n+)")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|etc|e\.g|i\.e|cf|Fig|Vol|Inc|Ltd|Co|approx|ca|al)|\b[A-Z])\.$"
)
_LOOK_BACK = 16  # characters, more than any abbreviation has
FENCES = ("```", "~~~")
LISTED = re.compile(r"[^\S\n]*(?:(?:[-*+]|\d+[.)])\s|\|)")
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
        if text.startswith(FENCES, at):
            kind = "code"
            closing = [found for fence in FENCES if (found := text.find(f"\n{fence}", end - 1)) >= 0]
            end = (text.find("\n", min(closing) + 1) + 1 if closing else 0) or len(text)
        else:
            # the first test spares most lines the second
            kind = "listed" if not text[at].isalpha() and LISTED.match(text, at) else "prose"
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
