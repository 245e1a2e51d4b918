"""Is a cheap answer good enough to give? What can be told without a further call.

An answer fails where it can be seen to be wrong or unfounded: it abstains though the evidence is strong, cites what was
not given, says what stands nowhere in the evidence, is cut or no JSON, or the model itself was unsure of its words.
A wrong answer in the evidence's own words passes.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from haystack import Document

from ragsaver.components.answer_builder import abstains, is_abstention
from ragsaver.components.answer_manners import is_polite, sentences_of
from ragsaver.components.answer_schema import AnswerSchema, unfenced
from ragsaver.components.answer_words import (
    FEWEST_GRAMS,
    GRAMS_FROM,
    SPELT,
    Vocabulary,
    capitalises_nouns,
    content_words,
    groups,
    is_english,
    is_small,
    spaced,
)
from ragsaver.components.citations import CITED, numbers_cited, plain_marks
from ragsaver.sentences import STOP_WORDS, stem, stems_in

SUPPORTED_FROM = 0.5  # share of a sentence's content words that must stand in the evidence: by benchmarks/answer_check
_TOLD_FROM = 12  # words, from which on a passage's language shows
_FEWEST_STEMS = 3  # in a shorter sentence a single word would decide

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_NEIGHBOURS = re.compile(r"([^\W\d_]+) (?=([^\W\d_]+))")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SPELT = {word: str(n) for n, word in enumerate(SPELT[0])}
_SPELT_ELSEWHERE = {word: str(n) for names in SPELT[1:] for n, word in enumerate(names)}
_ITEM = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)
_EVERYBODYS = frozenset("pc pcs tv tvs ok okay faq url urls".split())  # capitals that name nothing


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an answer is not trusted; `usable` if it may still be given where nothing better comes."""

    reason: str
    usable: bool = True


class Grounds:
    """The words that an answer may use: of the packed passages, their headings, and the question.

    :param confidence: of the free tier that the passages hold an answer, 0 to 1.
    """

    def __init__(self, question: str, documents: Sequence[Document], confidence: float) -> None:
        self.sources = len(documents)
        self.confidence = confidence
        self._texts = [question] + [
            f"{document.meta.get('source', '')} {document.meta.get('title', '')} {document.meta.get('heading', '')} "
            f"{document.content or ''}"
            for document in documents
        ]

    @cached_property
    def stems(self) -> frozenset[str]:
        """Of all content words."""
        return frozenset[str]().union(*(stems_in(spaced(text)) for text in self._texts))

    @cached_property
    def words(self) -> frozenset[str]:
        """All words and their stems, in small letters."""
        found = {word.casefold() for text in self._texts for word in _parts(spaced(text))}
        return frozenset(found | {stem(word) for word in found})

    @cached_property
    def numbers(self) -> frozenset[str]:
        """All numbers, those up to twelve in words too, without the separators of thousands."""
        known = _SPELT | _SPELT_ELSEWHERE if self.foreign else _SPELT
        spelt = {known[word] for text in self._texts for word in _pieces(text) if word in known}
        return frozenset(spelt.union(*(numbers_of(text) for text in self._texts)))

    @cached_property
    def foreign(self) -> list[str]:
        """The texts that are not English; in few words that can't be told."""
        if not is_english(self._texts):
            return self._texts
        return [text for text in self._texts if len(text.split()) >= _TOLD_FROM and not is_english([text])]

    @cached_property
    def nouns_in_capitals(self) -> bool:
        """Whether a capital makes no name in those."""
        return capitalises_nouns(self.foreign)

    def by_stems(self, answer: str) -> bool:
        """Whether the answer's words are compared by English stems, as far as there are spaces between them."""
        return not self.foreign or (self.foreign is not self._texts and is_english([answer]))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """All words, for languages that bend and join them."""
        return Vocabulary(self.words)

    @cached_property
    def groups(self) -> frozenset[str]:
        """Neighbouring characters of scripts without spaces."""
        return frozenset(one for text in self._texts for one in groups(text))

    def holds(self, word: str, by_stems: bool) -> bool:
        """Whether the word stands there, in this form or another one."""
        small = word.casefold()
        if small in self.words or stem(small) in self.words:
            return True
        return not by_stems and self.vocabulary.holds(word)


def check(
    answer: str,
    grounds: Grounds,
    *,
    sure_from: float,
    as_json: bool = False,
    schema: AnswerSchema | None = None,
    cut: bool = False,
    logprob: float | None = None,
    min_logprob: float = -1.0,
) -> Failure | None:
    """Why the answer should not be trusted; None if nothing speaks against it.

    :param sure_from: confidence from which on an abstention is doubted.
    :param as_json: it was to be one JSON value; its words are then not looked at.
    :param schema: that it was to fit; its words are then not looked at.
    :param cut: it ended at the token limit.
    :param logprob: mean log-probability of its tokens, where the endpoint told.
    """
    if not answer.strip():
        return Failure("it is empty", usable=False)
    if as_json and not is_json(answer):
        return Failure("it is no JSON", usable=False)
    if schema is not None and not is_abstention(answer) and (misfit := schema.misfit(answer)):
        return Failure(f"it does not fit the schema: {misfit.reason}", usable=False)
    if cut:
        return Failure("it was cut at the token limit")
    if abstains(answer):
        if grounds.confidence >= sure_from:
            return Failure(f"it found no answer, though a passage has one with confidence {grounds.confidence:.2f}")
        return None
    if not as_json and schema is None:
        marked = plain_marks(answer)
        if reason := _citations(marked, grounds.sources) or _unsupported(marked, grounds, SUPPORTED_FROM):
            return Failure(reason)
    if logprob is not None and logprob < min_logprob:
        return Failure(f"its model was unsure: mean log-probability {logprob:.2f}, below {min_logprob:.2f}")
    return None


def is_json(answer: str) -> bool:
    """Whether it is one JSON value, in a code block or not."""
    try:
        json.loads(unfenced(answer))
    except ValueError:
        return False
    return True


def unsupported(answer: str, grounds: Grounds, supported_from: float = SUPPORTED_FROM) -> str | None:
    """What the answer says that its grounds do not hold; None if all is there.

    :param supported_from: share of a sentence's content words that must stand there.
    """
    return _unsupported(plain_marks(answer), grounds, supported_from)


def _unsupported(marked: str, grounds: Grounds, supported_from: float) -> str | None:
    answer = CITED.sub("", marked)
    by_stems = grounds.by_stems(answer)
    for sentence in sentences_of(answer):
        for number in sorted(numbers_of(sentence) - grounds.numbers):
            return f"the number {number} stands in no passage"
        for name in _names(sentence, not by_stems and grounds.nouns_in_capitals):
            if not grounds.holds(name, by_stems):
                return f"the name {name} stands in no passage"
        if not is_polite(sentence) and (reason := _elsewhere(sentence, grounds, by_stems, supported_from)):
            return reason
    return None


def _elsewhere(sentence: str, grounds: Grounds, by_stems: bool, supported_from: float) -> str | None:
    said = groups(sentence)
    there = len(said & grounds.groups) if said else 0
    if len(said) >= FEWEST_GRAMS and there < GRAMS_FROM * len(said):
        return f"a sentence has {there} of its {len(said)} groups of characters from the passages"
    if by_stems:
        words = stems_in(spaced(sentence))
        there = len(words & grounds.stems)
    else:
        words = content_words(spaced(sentence))
        there = sum(grounds.holds(word, by_stems) for word in words)
    if len(words) >= _FEWEST_STEMS and there < supported_from * len(words):
        return f"a sentence has {there} of its {len(words)} content words from the passages"
    return None


def numbers_of(text: str) -> set[str]:
    """The numbers in figures, in a form in which equal ones are the same; those that count a list's items are none."""
    return {_plain(number) for number in _NUMBER.findall(_ITEM.sub("", text))}


def _pieces(text: str) -> list[str]:
    """Words in small letters; where there are no spaces the characters are."""
    words = text.casefold().split()
    return words if text.isascii() else [*words, *text]


def _plain(number: str) -> str:
    """`1,000.50` is `1000.5`, `007` is `7`."""
    whole, _, part = re.sub(r",(?=\d{3}(?:\D|$))", "", number).replace(",", ".").partition(".")
    part = part.rstrip("0")
    return f"{whole.lstrip('0') or '0'}.{part}" if part else whole.lstrip("0") or "0"


def _citations(marked: str, sources: int) -> str | None:
    for mark in numbers_cited(marked):
        if not 1 <= mark <= sources:
            return f"it cites [{mark}], and {sources} passages were given"
    return None if CITED.search(marked) else "it cites no passage"


def _names(sentence: str, nouns_in_capitals: bool) -> list[str]:
    """Words that begin with a capital, but for the first: it does so anyway, where there are spaces.

    :param nouns_in_capitals: a capital alone makes no name then: one within the word does, or a noun right before it.
    """
    own = spaced(sentence)
    words = _parts(own)
    first = 1 if own == sentence else 0
    found = [word for at, word in enumerate(words) if at >= first and _is_capital(words, at)]
    if not nouns_in_capitals:
        return found
    second = {word for before, word in _NEIGHBOURS.findall(own)[first:] if before[0].isupper() and not is_small(before)}
    return [word for word in found if word in second or word[1:] != word[1:].lower()]


def _is_capital(words: Sequence[str], at: int) -> bool:
    """Whether the word has a capital that says something."""
    word = words[at]
    if not word[0].isupper() or len(word) == 1 or _NUMBER.search(word):
        return False
    if word.casefold() in _EVERYBODYS or (not word.isupper() and word.casefold() in STOP_WORDS):
        return False
    initials = "".join(one[0] for one in words[max(0, at - len(word)) : at])
    return word != initials.upper()


def _parts(text: str) -> list[str]:
    """Words, those with a hyphen or apostrophe whole and in parts."""
    found = []
    for word in _WORD.findall(text):
        found += [part for part in re.split(r"['’-]", word) if part]
    return found
