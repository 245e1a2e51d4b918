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
from ragsaver.components.answer_schema import AnswerSchema, unfenced
from ragsaver.components.citations import CITED, numbers_cited, plain_marks
from ragsaver.sentences import content_stems, split, stem

SUPPORTED_FROM = 0.5  # share of a sentence's content words that must stand in the evidence: by benchmarks/answer_check
_FEWEST_STEMS = 3  # in a shorter sentence a single word would decide

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SPELT = dict(
    zip(
        "zero one two three four five six seven eight nine ten eleven twelve".split(),
        map(str, range(13)),
        strict=True,
    )
)
_ITEM = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)


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
        return frozenset(one for text in self._texts for one in content_stems(text))

    @cached_property
    def words(self) -> frozenset[str]:
        """All words and their stems, in small letters."""
        found = {word.casefold() for text in self._texts for word in _parts(text)}
        return frozenset(found | {stem(word) for word in found})

    @cached_property
    def numbers(self) -> frozenset[str]:
        """All numbers, those up to twelve in words too, without the separators of thousands."""
        spelt = {_SPELT[word] for text in self._texts for word in text.casefold().split() if word in _SPELT}
        return frozenset(spelt.union(*(numbers_of(text) for text in self._texts)))


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
    in_words = not as_json and schema is None
    if in_words and (reason := _citations(answer, grounds.sources) or unsupported(answer, grounds)):
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
    for sentence in split(CITED.sub("", plain_marks(answer))):
        for number in sorted(numbers_of(sentence) - grounds.numbers):
            return f"the number {number} stands in no passage"
        for name in _names(sentence):
            if name.casefold() not in grounds.words and stem(name.casefold()) not in grounds.words:
                return f"the name {name} stands in no passage"
        stems = set(content_stems(sentence))
        there = len(stems & grounds.stems)
        if len(stems) >= _FEWEST_STEMS and there < supported_from * len(stems):
            return f"a sentence has {there} of its {len(stems)} content words from the passages"
    return None


def numbers_of(text: str) -> set[str]:
    """The numbers in figures, in a form in which equal ones are the same; those that count a list's items are none."""
    return {_plain(number) for number in _NUMBER.findall(_ITEM.sub("", text))}


def _plain(number: str) -> str:
    """`1,000.50` is `1000.5`, `007` is `7`."""
    whole, _, part = re.sub(r",(?=\d{3}(?:\D|$))", "", number).replace(",", ".").partition(".")
    part = part.rstrip("0")
    return f"{whole.lstrip('0') or '0'}.{part}" if part else whole.lstrip("0") or "0"


def _citations(answer: str, sources: int) -> str | None:
    answer = plain_marks(answer)
    for mark in numbers_cited(answer):
        if not 1 <= mark <= sources:
            return f"it cites [{mark}], and {sources} passages were given"
    return None if CITED.search(answer) else "it cites no passage"


def _names(sentence: str) -> list[str]:
    """Words that begin with a capital, but for the first: it does so anyway."""
    words = _parts(sentence)
    return [word for word in words[1:] if word[0].isupper() and len(word) > 1 and not _NUMBER.search(word)]


def _parts(text: str) -> list[str]:
    """Words, those with a hyphen or apostrophe whole and in parts."""
    found = []
    for word in _WORD.findall(text):
        found += [part for part in re.split(r"['’-]", word) if part]
    return found
