"""What does "How tall is it?" ask for? A question that leans on those before it, made whole for retrieval, by rules.

English only, and without a model: a question that points back (it, there, he), leaves something out (And in Germany?)
or has hardly a word of its own gets the names and content words of the questions before it, and of the last answer's
first sentence where the pronoun points there.
"""

import re
from collections.abc import Iterable, Sequence

from ragsaver.components.answer_kind import asked
from ragsaver.components.conversation import Turn, turns_of
from ragsaver.sentences import STOP_WORDS, split, stem

MAX_ADDED = 12  # words
LOOK_BACK = 6  # turns
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_PERSON = re.compile(r"\b(?:he|him|his|himself|she|her|hers|herself)\b", re.IGNORECASE)
# not "is there a way", but "who lives there"
_PLACE = re.compile(
    r"(?<!\bis )(?<!\bare )(?<!\bwas )(?<!\bwere )(?<!\bbe )\bthere\b(?!\s+(?:is|are|was|were|has|have|be|any)\b)"
    r"|\bthere\W*$",
    re.IGNORECASE,
)
_TIME = re.compile(r"\b(?:then|that (?:year|day|time|month|century|decade|period))\b", re.IGNORECASE)
_THING = re.compile(
    r"\b(?:it|its|itself|they|them|their|theirs|this|these|those|the (?:former|latter|same|other|first|second|last) one"
    r"|which one|that one|the (?:former|latter|same))\b",
    re.IGNORECASE,
)
_THAT = re.compile(
    r"\b(?:of|about|for|from|by|with|after|before|in|on|to|is|was|does|did|like|than|do) that\b(?!\s+(?:the|a|an|it)\b)"
    r"|^\W*(?:and |but |so )?that\b|\bthat(?: \w+)?\W*$"
    r"|\bthat (?:person|place|city|country|company|building|thing|one)\b",
    re.IGNORECASE,
)
_ELLIPSIS = re.compile(
    r"^\W*(?:and|or|but|also|what about|how about|what else|anything else|how so|why not|more|tell me more|since when"
    r"|by whom|with whom|for whom|for how long|where to|where from|for what|what for|then)\b",
    re.IGNORECASE,
)
_DEFINES = re.compile(r"^\W*(?:what|who) (?:is|are|was|were|does)\b|^\W*(?:define|explain|describe)\b", re.IGNORECASE)
_WHICH = re.compile(r"\b(?:which|what) (?!is\b|are\b|was\b|were\b|does\b|do\b|did\b|has\b|have\b)\w+", re.IGNORECASE)
_CLAUSE = re.compile(r"[,;:.?!]|\b(?:and|or|but|if|while|because)\b", re.IGNORECASE)
_EMPTY = frozenset(
    "tell many much long old large big tall high far often kind name called mean else happen please exactly also "
    "year date time one thing know say explain give list show describe".split()
)  # say nothing of what a question is about
_ASKING = STOP_WORDS | _EMPTY | frozenset("whose shall may might must yes ok okay well hi hello thanks thank".split())


def made_whole(question: str, history: Sequence[tuple[str, str]]) -> str:
    """The question with the words that it leans on, as `self_contained` has it.

    :param history: earlier turns, oldest first: role and text.
    """
    return self_contained(question, turns_of(history[-2 * LOOK_BACK :]))


def self_contained(question: str, turns: Sequence[Turn]) -> str:
    """The question with the words that it leans on behind it; as it is where it leans on none.

    :param turns: of the conversation before it, oldest first.
    """
    whole = ""
    last = Turn("", "")
    for turn in (*turns[-LOOK_BACK:], Turn(question, "")):
        whole = _whole(turn.asked, whole, last.answered)
        last = turn
    return whole


def leans_back(question: str) -> bool:
    """Whether it can't be understood without what was said before."""
    words = _WORD.findall(question)
    own, named = _content(words), names(question)
    if _points_out(question) or any(_is_open(question[: at.start()]) for at in _pronouns(question)):
        return True
    if _ELLIPSIS.search(question):
        return len(own) < (3 if named else 5)
    if not own:
        return bool(words)
    return len(own) == 1 and not named and len(words) <= 4 and not _DEFINES.search(question)


def _is_open(before: str) -> bool:
    """Whether a pronoun means nothing that stands in front of it in the same question.

    "What is Python and who made it?" says itself what it speaks of.
    """
    clauses = _CLAUSE.split(before)
    return not names(before) and not any(_content(_WORD.findall(clause)) for clause in clauses[:-1])


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
    for word in map(bare, added):
        if (key := stem(word.casefold())) not in have:
            have.add(key)
            fresh.append(word)
    return " ".join([question, *fresh[:MAX_ADDED]])


def _pointed_at(question: str, before: str, answered: str) -> Iterable[str]:
    content, named = _content(_WORD.findall(before)), names(before)
    about = named if len(named) > 1 else [*named, *content]
    told = [name for name in names(_first(answered)) if name not in named]
    kind = asked(before).kind
    if _PLACE.search(question):
        return [*told, *about] if kind == "place" else about
    if _TIME.search(question):
        return [*_numbers(_first(answered)), *about]
    if any(_pronouns(question)) or _THAT.search(question):
        # "Who built it?" "Anna." "When was she born?" speaks of the answer, after "Who was Anna?" of the question
        if kind == "name" and not _DEFINES.search(before) and _PERSON.search(question):
            return told or about
        return [*told[:4], *about] if _WHICH.search(before) else about
    if names(question):
        # "And Macbeth?" takes the place of the name that was asked for
        return [word for word in content if word not in named]
    return [*named, *content]


def _points_out(question: str) -> bool:
    """Whether it speaks of a place, time or thing that was told: there, then, that one."""
    return any(pattern.search(question) for pattern in (_PLACE, _TIME, _THAT))


def _pronouns(question: str) -> Iterable[re.Match[str]]:
    return (found for pattern in (_PERSON, _THING) for found in pattern.finditer(question))


def _first(answered: str) -> str:
    return next(iter(split(answered)), "")


def bare(word: str) -> str:
    """Without a possessive's end."""
    return re.sub(r"['’]s$", "", word)


def _content(words: Iterable[str]) -> list[str]:
    return [word for word in words if word.casefold() not in _ASKING]


def names(text: str) -> list[str]:
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
