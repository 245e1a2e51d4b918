"""Which kind of answer does a question ask for, and could a sentence hold one? Told by English question words only; of
a question that has none nothing is expected.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from ragsaver.sentences import is_code, is_listed

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
_DATE = re.compile(
    r"\b(?:1\d{3}|20\d{2})s?\b|\b(?:January|February|March|April|May|June|July|August|September|October|November"
    r"|December|century|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)\b",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|hundred|thousand|million|billion"
    r"|half|third|percent|once|twice|several|many|few)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z][a-zA-Z]+")
_PLACE = re.compile(r"\b(?:in|at|near|from|to)\s+(?:the\s+)?[A-Z]")
_CAUSE = re.compile(r"\b(?:because|since|due|so that|in order|to)\b", re.IGNORECASE)
# It says something of what stands in front of it, and is hard to read without.
_REFERS_BACK = re.compile(
    r"(?:it|its|this|these|that|those|they|their|them|he|his|she|her|such|both|so|thus|hence|therefore|however|instead"
    r"|otherwise|then|also|but|the (?:former|latter|same))\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Signs:
    """What a sentence has. `names` are its capitalised words, in small letters."""

    listed: bool
    code: bool
    date: bool
    number: bool
    digit: bool
    place: bool
    cause: bool
    names: frozenset[str]
    refers_back: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question asks for; None is anything. `words` are its own, in small letters."""

    kind: Kind | None
    words: frozenset[str]

    def held_by(self, signs: Signs, kind: Kind) -> bool:
        """Whether this kind is asked for and the sentence could hold it: a name must not be the question's own."""
        if kind != self.kind:
            return False
        return not signs.names <= self.words if kind == "name" else bool(getattr(signs, kind))


def asked(question: str) -> Asked:
    """What a question asks for."""
    small = question.lower()
    kind = next((kind for kind, pattern in _ASKED if pattern.search(small)), None)
    return Asked(kind, frozenset(_WORD.findall(small)))


@lru_cache(maxsize=65_536)
def signs(sentence: str) -> Signs:
    """What a sentence has."""
    digit = bool(_DIGIT.search(sentence))
    return Signs(
        listed=is_listed(sentence),
        code=is_code(sentence),
        date=bool(_DATE.search(sentence)),
        number=digit or bool(_NUMBER.search(sentence)),
        digit=digit,
        place=bool(_PLACE.search(sentence)),
        cause=bool(_CAUSE.search(sentence)),
        names=frozenset(name.lower() for name in _NAME.findall(sentence)),
        refers_back=bool(_REFERS_BACK.match(sentence)),
    )
