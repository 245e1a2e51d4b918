"""When is a question the same as one that was asked before? If only its case, spaces or final punctuation differ.

Nothing that carries meaning is touched: a number stays as it is (`10²` is not `102`, `5!` is not `5`), and so does
an abbreviation that would become a common word (`WHO`, `US`, `IT`).
"""

import re
import unicodedata

from ragsaver.sentences import STOP_WORDS

_BEGINNING = re.compile(r"^[\s¿¡]+")
_ENDS = frozenset("?.…。？!！")
_SPACE = re.compile(r"\s+")
_CAPITALS = re.compile(r"(?<!\w)[A-Z]{2,5}(?!\w)")

# Forms of a character that say something else than the plain one.
_MEANT = ("<super>", "<sub>", "<fraction>", "<circle>", "<square>")
# Abbreviations that are words too, beside the stop words.
_WORDS_TOO = frozenset("us aids ram led net pin sim bit art gas mad cat pet sad may".split())


def normalised(question: str) -> str:
    """The question as the caches know it."""
    text = question if question.isascii() else "".join(map(_plain, unicodedata.normalize("NFC", question)))
    text = _SPACE.sub(" ", _without_ending(_BEGINNING.sub("", text)))
    kept = [] if text.isupper() else [word for word in _CAPITALS.finditer(text) if _is_a_word(word[0].lower())]
    if not kept:
        return text.lower()
    pieces: list[str] = []
    at = 0
    for word in kept:
        pieces += [text[at : word.start()].lower(), word[0]]
        at = word.end()
    return "".join([*pieces, text[at:].lower()])


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


def _is_a_word(word: str) -> bool:
    return word in STOP_WORDS or word in _WORDS_TOO
