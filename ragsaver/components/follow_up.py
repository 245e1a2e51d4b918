"""What does "How tall is it?" ask for? A question that leans on those before it, made whole for retrieval, by rules.

English only, and without a model: a question that points back (it, there, he), leaves something out (And in Germany?)
or has hardly a word of its own gets the names and content words of the questions before it, and of the last answer's
first sentence where the pronoun points there.
"""

import re
from collections.abc import Iterable, Sequence

from ragsaver.components.answer_kind import asked
from ragsaver.components.conversation import Turn
from ragsaver.sentences import STOP_WORDS, split, stem

MAX_ADDED = 12  # words
_LOOK_BACK = 6  # turns
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_PERSON = re.compile(r"\b(?:he|him|his|himself|she|her|hers|herself)\b", re.IGNORECASE)
_PLACE = re.compile(r"\bthere\b(?!\s+(?:is|are|was|were|be|been|any)\b)", re.IGNORECASE)
_EXISTS = re.compile(r"\b(?:is|are|was|were|will|can|has|have|had|be|been)\s+there\b(?!\W*$)", re.IGNORECASE)
_TIME = re.compile(r"\b(?:then|that (?:year|day|time|month|century|decade|period))\b", re.IGNORECASE)
_THING = re.compile(
    r"\b(?:it|its|itself|they|them|their|theirs|this|these|those|the (?:former|latter|same|other|first|second|last) one"
    r"|which one|that one|the (?:former|latter|same))\b",
    re.IGNORECASE,
)
_THAT = re.compile(
    r"\b(?:of|about|for|from|by|with|after|before|in|on|to|is|was|does|did|like|than|do) that\b(?!\s+(?:the|a|an|it)\b)"
    r"|^\W*(?:and |but |so )?that\b|\bthat\W*$|\bthat (?:person|place|city|country|company|building|thing|one)\b",
    re.IGNORECASE,
)
_ELLIPSIS = re.compile(
    r"^\W*(?:and|or|but|also|what about|how about|what else|anything else|how so|why not|more|tell me more|since when"
    r"|by whom|with whom|for whom|for how long|where to|where from|for what|what for|then)\b",
    re.IGNORECASE,
)
_DEFINES = re.compile(r"^\W*(?:what|who) (?:is|are|was|were|does)\b|^\W*(?:define|explain|describe)\b", re.IGNORECASE)
_EMPTY = frozenset(
    "tell many much long old large big tall high far often kind name called mean else happen please exactly also "
    "year date time one thing know say explain give list show describe".split()
)  # say nothing of what a question is about
_ASKING = STOP_WORDS | _EMPTY | frozenset("whose shall may might must yes ok okay well hi hello thanks thank".split())


def self_contained(question: str, turns: Sequence[Turn]) -> str:
    """The question with the words that it leans on behind it; as it is where it leans on none.

    :param turns: of the conversation before it, oldest first.
    """
    whole = ""
    last = Turn("", "")
    for turn in (*turns[-_LOOK_BACK:], Turn(question, "")):
        whole = _whole(turn.asked, whole, last.answered)
        last = turn
    return whole


def leans_back(question: str) -> bool:
    """Whether it can't be understood without what was said before."""
    words = _WORD.findall(question)
    own = _content(words)
    names = _names(question)
    if _ELLIPSIS.search(question):
        return len(own) <= 4 or _points(question) is not None
    pointer = _points(question)
    if pointer is not None:
        before = question[:pointer]
        # "What is Python and who made it?" says itself what it speaks of
        return not _names(before) and len(_content(_WORD.findall(before))) < 3
    if not own:
        return bool(words)
    return len(own) == 1 and not names and len(words) <= 4 and not _DEFINES.search(question)


def _whole(question: str, before: str, answered: str) -> str:
    """A question with what it leans on.

    :param before: the question before it, made whole itself.
    :param answered: the answer to that.
    """
    if not before or not leans_back(question):
        return question
    added = [*_pointed_at(question, before, answered)]
    have = {stem(word.casefold()) for word in _WORD.findall(question)}
    fresh: list[str] = []
    for word in map(_bare, added):
        if (key := stem(word.casefold())) not in have:
            have.add(key)
            fresh.append(word)
    return " ".join([question, *fresh[:MAX_ADDED]])


def _pointed_at(question: str, before: str, answered: str) -> Iterable[str]:
    names = _names(before)
    told = [name for name in _names(_first(answered)) if name.casefold() not in before.casefold()]
    kind = asked(before).kind
    content = _content(_WORD.findall(before))
    if _PERSON.search(question):
        return told or names or content if kind == "name" else names or told or content
    if _there(question):
        return told or names or content if kind == "place" else names or content
    if _TIME.search(question):
        return [*_numbers(_first(answered)), *(names or content)]
    if _points(question) is not None:
        which = re.search(r"\b(?:which|what) (?!is\b|are\b|was\b|were\b|does\b|do\b|did\b)\w+", before, re.IGNORECASE)
        # "Which company makes it?" "Acme." "Where is it based?": either may be meant
        return [*told[:4], *(names or content)] if which or kind == "name" else names or content
    if _names(question):
        # "And Macbeth?" takes the place of the name that was asked for
        return [word for word in content if word not in names]
    return [*names, *content]


def _points(question: str) -> int | None:
    """Where the first word stands that points back."""
    found = [match.start() for pattern in (_PERSON, _THING, _THAT, _TIME) if (match := pattern.search(question))]
    if (place := _there(question)) is not None:
        found.append(place)
    return min(found, default=None)


def _there(question: str) -> int | None:
    found = _PLACE.search(question)
    return found.start() if found and not _EXISTS.search(question) else None


def _first(answered: str) -> str:
    return next(iter(split(answered)), "")


def _bare(word: str) -> str:
    return re.sub(r"['’]s$", "", word)


def _content(words: Iterable[str]) -> list[str]:
    return [word for word in words if word.casefold() not in _ASKING]


def _names(text: str) -> list[str]:
    """Words with a capital or a figure that are no question's own; nothing where all words have capitals."""
    words = _WORD.findall(text)
    content = _content(words)
    found = [word for word in content if word[0].isupper() or word[0].isdigit()]
    first = words[0] if words else ""
    if found[:1] == [first] and len(found) == 1 and len(content) > 1 and not text[:1].isdigit() and first in _OPENERS:
        return []
    return found


_OPENERS = frozenset("Which Name List Compare Summarise Summarize Find Explain Describe Define Show Give Tell".split())


def _numbers(text: str) -> list[str]:
    return [word for word in _WORD.findall(text) if word[0].isdigit()]
