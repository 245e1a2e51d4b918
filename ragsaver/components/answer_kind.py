"""Which kind of answer does a question ask for, and could a sentence hold one? Told by English question words only; of
a question that has none nothing is expected.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Kind = Literal["date", "number", "name", "place", "cause"]

_ASKED: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("date", re.compile(r"\bwhen\b|\b(?:what|which) (?:year|date|day|month|century|decade|era|time)")),
    (
        "number",
        re.compile(
            r"\bhow (?:many|much|long|far|old|large|big|tall|often|high|fast|deep|wide|heavy|late|early)\b"
            r"|\b(?:percent|percentage|number|amount|size|rate|population)\b"
        ),
    ),
    ("name", re.compile(r"\bwho(?:m|se)?\b")),
    (
        "place",
        re.compile(
            r"\bwhere\b|\b(?:what|which) (?:city|country|state|place|location|region|town|continent|county|street"
            r"|university|school|college|river)"
        ),
    ),
    ("cause", re.compile(r"\bwhy\b")),
)
_YEAR = re.compile(r"\b(?:1\d{3}|20\d{2})s?\b")
_DATES = frozenset(
    """january february march april may june july august september october november december century monday tuesday
    wednesday thursday friday saturday sunday""".split()
)
_DIGIT = re.compile(r"\d")
_NUMBERS = frozenset(
    """one two three four five six seven eight nine ten eleven twelve dozen hundred thousand million billion half third
    percent once twice several many few""".split()
)
# Its first letter stands first, so that a search can skip to the next one.
_NAME = re.compile(r"[A-Z](?<!\w.)(?<![.!?]\s.)(?<!^.)[a-zA-Z]+")
_PLACE = re.compile(r"\b(?:in|at|near|from|to)\s+(?:the\s+)?[A-Z]")
_CAUSES = frozenset({"because", "since", "due", "to"})
_CAUSE = re.compile(r"\b(?:so that|in order)\b")
# It says something of what stands in front of it, and is hard to read without.
_REFERS_BACK = re.compile(
    r"(?:it|its|this|these|that|those|they|their|them|he|his|she|her|such|both|so|thus|hence|therefore|however|instead"
    r"|otherwise|then|also|but|the (?:former|latter|same))\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question asks for; None is anything. `words` are its own, in small letters."""

    kind: Kind | None
    words: frozenset[str]

    def held_by(self, sentence: str, tenant: str) -> bool:
        """Whether the sentence could hold what is asked for: a name must not be the question's own.

        :param tenant: whose sentence it is.
        """
        if self.kind is None:
            return False
        if self.kind == "name":
            return not _names(sentence, tenant) <= self.words
        return _holds(sentence, tenant, self.kind)


def asked(question: str) -> Asked:
    """What a question asks for."""
    small = question.lower()
    kind = next((kind for kind, pattern in _ASKED if pattern.search(small)), None)
    return Asked(kind, frozenset(_WORD.findall(small)))


def has_digit(sentence: str) -> bool:
    """Whether a digit stands in it."""
    return bool(_DIGIT.search(sentence))


def refers_back(sentence: str) -> bool:
    """Whether it says something of what stands in front of it."""
    return bool(_REFERS_BACK.match(sentence))


@lru_cache(maxsize=65_536)
def _names(sentence: str, tenant: str) -> frozenset[str]:
    """Capitalised words but the first, in small letters."""
    return frozenset(name.lower() for name in _NAME.findall(sentence))


@lru_cache(maxsize=65_536)
def _holds(sentence: str, tenant: str, kind: Kind) -> bool:
    small = sentence.lower()
    words = set(_WORD.findall(small))
    if kind == "date":
        return not words.isdisjoint(_DATES) or bool(_YEAR.search(sentence))
    if kind == "number":
        return has_digit(sentence) or not words.isdisjoint(_NUMBERS)
    if kind == "place":
        return bool(_PLACE.search(sentence))
    return not words.isdisjoint(_CAUSES) or bool(_CAUSE.search(small))
