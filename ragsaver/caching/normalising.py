"""When is a question the same as one that was asked before? If only spaces, final punctuation, or the capital at its
beginning differ.

Nothing that carries meaning is touched: a number stays as it is (`10²` is not `102`, `5!` is not `5`), and so does a
capital that no beginning calls for (`5 MW` is not `5 mW`, `Polish` not `polish`, `IT` not `it`).
"""

import re
import unicodedata

from ragsaver.sentences import STOP_WORDS

_BEGINNING = re.compile(r"^[\s¿¡]+")
_ENDS = frozenset("?.…。？!！")
_SPACE = re.compile(r"\s+")

_FIRST = re.compile(r"\A[\W_]*([^\W\d_]+(?:['’-][^\W\d_]+)*)(?!\w)")
_SENTENCE = re.compile(r"[.?!…] ([A-Z][a-z]+)(?!\w)")
_MYSELF = re.compile(r"(?<![\w/&.-])(?<!\d )I(?![\w/&.-])")
_UNIT = re.compile(r"(?<=\d) ?[A-Z]{1,3}(?!\w)")
_LONGER = re.compile(r"[^\W\d_]{6}")  # than abbreviations are
_SINGLE_WORDS = frozenset("aioy")  # `A`, `O que`, `Y`; other single letters are signs

# Forms of a character that say something else than the plain one.
_MEANT = ("<super>", "<sub>", "<fraction>", "<circle>", "<square>")


def normalised(question: str) -> str:
    """The question as the caches know it."""
    text = question if question.isascii() else "".join(map(_plain, unicodedata.normalize("NFC", question)))
    text = _SPACE.sub(" ", _without_ending(_BEGINNING.sub("", text)))
    if text.isupper() and _LONGER.search(text):
        return _without_capitals(text)
    text = _MYSELF.sub("i", _SENTENCE.sub(_beginning, text))
    first = _FIRST.match(text)
    if first is None or not _is_capital_of_a_beginning(first.group(1)):
        return text
    return text[: first.start(1)] + first.group(1).lower() + text[first.end() :]


def _without_capitals(text: str) -> str:
    """In small letters, but for units: all are capitals there, so others say nothing."""
    pieces: list[str] = []
    at = 0
    for unit in _UNIT.finditer(text):
        if unit.group().strip().lower() not in STOP_WORDS:
            pieces += [text[at : unit.start()].lower(), unit.group()]
            at = unit.end()
    return "".join([*pieces, text[at:].lower()])


def _beginning(sentence: re.Match[str]) -> str:
    """A sentence after the first: it may as well be an abbreviation's end, before a name."""
    small = sentence.group(1).lower()
    return sentence.group()[: -len(small)] + small if small in STOP_WORDS else sentence.group()


def _is_capital_of_a_beginning(word: str) -> bool:
    if len(word) == 1:
        return word.lower() in _SINGLE_WORDS or not word.isascii()
    return word[1:] == word[1:].lower()


def _without_ending(text: str) -> str:
    """Without spaces and punctuation behind it; an exclamation mark after a digit is a factorial."""
    end = len(text)
    while end and (text[end - 1] in _ENDS or text[end - 1].isspace()):
        if text[end - 1] in "!！" and text[end - 2 : end - 1].isdecimal():
            break
        end -= 1
    return text[:end]


def _plain(character: str) -> str:
    """Its compatible form (NFKC), where that says the same."""
    if unicodedata.decomposition(character).startswith(_MEANT):
        return character
    return unicodedata.normalize("NFKC", character)
