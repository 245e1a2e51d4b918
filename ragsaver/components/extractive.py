"""The free tier: answer with a sentence of the documents, or say that they hold none.

It never writes a word of its own. What it says of itself comes from what costs nothing more: how near the passage is
to the question by meaning, how many of the question's words stand in the passage and in the sentence, and how far the
sentence is ahead of the next best one. Two things are said: whether the documents hold an answer, and whether the
sentence is it.
"""

import heapq
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

from haystack import Document

from ragsaver.sentences import stems_in
from ragsaver.settings import Settings
from ragsaver.spend.pacing import UNPRESSED, Pace, Service

# Logistic regressions over `Signals` for the bundled model: of that there is an answer, which benchmarks/extractive.py
# fits and checks, and of that the sentence is right, of benchmarks/extractive_right.py: by what worth was counted by.
INTERCEPT, COSINE, COVERAGE, SENTENCE_COVERAGE = -6.0, 5.4, 2.9, 3.6
RIGHT_BY_WORDS = (-6.14, 4.14, 1.74, 2.05, 0.88)
RIGHT_BY_TOKENS = (-5.86, 3.73, 1.37, 2.41, 0.81)

NO_MODEL = "no language model is configured: the free tier answers with the documents' own words"
NO_PASSAGES = "no passage was found: this collection may be empty (`ragsaver ingest PATH` fills it)"
_NONE_FITS = (
    "no sentence of the {} passages found fits into the context: raise `context.budget_tokens` (or the packer's)"
)


@dataclass(frozen=True, slots=True)
class Signals:
    """What an answer's likelihood is read from, each 0 to 1.

    :param cosine: of question and passage.
    :param coverage: share of the question's content words that stand in the passage or its headings.
    :param sentence_coverage: share of them that stand in the sentence.
    :param lead: by how much the sentence is worth more than the next best one.
    :param by_tokens: whether their worth was counted by tokens too.
    """

    cosine: float
    coverage: float
    sentence_coverage: float
    lead: float = 0.0
    by_tokens: bool = False

    @property
    def confidence(self) -> float:
        """How likely the documents hold an answer, 0 to 1, where half of all questions have one."""
        return self._logistic(INTERCEPT, COSINE, COVERAGE, SENTENCE_COVERAGE)

    @property
    def right(self) -> float:
        """How likely the sentence holds the answer, 0 to 1, where half of all questions have one."""
        return self._logistic(*(RIGHT_BY_TOKENS if self.by_tokens else RIGHT_BY_WORDS))

    def _logistic(self, intercept: float, *weights: float) -> float:
        signs = (self.cosine, self.coverage, self.sentence_coverage, self.lead)
        return 1 / (1 + math.exp(-intercept - sum(map(operator.mul, weights, signs))))


@dataclass(frozen=True, slots=True)
class Extract:
    """What the free tier says: `text` is verbatim, None if it abstains; `passage` counts from 0.

    :ivar confidence: that the documents hold an answer, 0 to 1.
    :ivar right: how likely the sentence holds it, 0 to 1.
    """

    text: str | None
    passage: int
    confidence: float
    reason: str
    right: float = 0.0


def comes_first(settings: Settings) -> bool:
    """Whether the free tier may answer in a model's place: its confidence is fitted to the bundled model's vectors, so
    with another embedding model only if the settings ask for it.
    """
    wishes = settings.generation
    fitted = settings.embedding.is_bundled or "extractive_first" in wishes.model_fields_set
    return wishes.extractive_first and fitted


def free_choice(
    found: Extract,
    *,
    passages: int,
    models: int,
    extractive_first: bool,
    sure_from: float,
    pace: Pace = UNPRESSED,
) -> str | None:
    """Why the free tier answers; None if a model is asked.

    :param found: what the free tier would say.
    :param passages: how many were packed; without any no model is asked.
    :param models: how many language models are configured.
    :param sure_from: from how likely being right the free tier's answer is taken although there is a model.
    :param pace: what budgets leave.
    """
    if models == 0:
        return NO_MODEL
    if passages == 0:
        return "there is no passage to answer from: no model was asked"
    if extractive_first and found.text is not None and found.right >= sure_from:
        return f"{found.reason}, at least {sure_from:.2f}"
    if pace.service >= Service.EXTRACTIVE:
        return f"no model was asked: {pace.why}"
    return None


def extract(query: str, documents: Sequence[Document], min_confidence: float, found: int = 0) -> Extract:
    """Answer from packed passages.

    :param documents: as the packer gives them, with `spans`, `span_worth` and `dense_score` in their meta.
    :param min_confidence: that there is an answer; below it the answer is None.
    :param found: passages before they were packed.
    """
    if not documents:
        return Extract(None, 0, 0.0, _NONE_FITS.format(found) if found else NO_PASSAGES)
    best = best_span(query, documents)
    if best is None:
        return Extract(None, 0, 0.0, "nothing in the documents comes near the question")
    number, span = best
    told = signals(query, documents[number], span, lead_of(documents), by_tokens=by_tokens(documents))
    if told is None:
        return Extract(None, number, 0.0, "the question has no words to look for")
    sure = told.confidence
    if sure < min_confidence:
        return Extract(
            None,
            number,
            sure,
            f"no passage answers this with enough confidence ({sure:.2f} < {min_confidence:.2f})",
        )
    return Extract(span, number, sure, f"a passage answers it with confidence {told.right:.2f}", told.right)


def best_span(query: str, documents: Sequence[Document]) -> tuple[int, str] | None:
    """The sentence that is worth most and the position of its passage; of equals the first passage's.

    A sentence that asks, or quotes the question, answers nothing.
    """
    spans = [
        (worth, number, span)
        for number, document in enumerate(documents)
        for span, worth in zip(document.meta.get("spans", ()), document.meta.get("span_worth", ()), strict=False)
    ]
    spans.sort(key=operator.itemgetter(0), reverse=True)
    return next(((number, span) for _, number, span in spans if not asks(query, span)), None)


def by_tokens(documents: Sequence[Document]) -> bool:
    """Whether the packer counted what sentences are worth by their tokens too."""
    return any(document.meta.get("matched") for document in documents)


def lead_of(documents: Sequence[Document]) -> float:
    """By how much the best of all sentences is worth more than the next one, questions among them; 0 if there is one
    only.
    """
    best = heapq.nlargest(2, (worth for document in documents for worth in document.meta.get("span_worth", ())))
    return best[0] - best[1] if len(best) == 2 else 0.0


def asks(query: str, span: str) -> bool:
    """Whether a sentence is a question, or quotes this one."""
    said, asked = (" ".join(text.casefold().split()) for text in (span, query))
    return said.rstrip("\"'”’)*_ ").endswith(("?", "？")) or (asked.endswith(("?", "？")) and asked in said)


def signals(query: str, passage: Document, span: str, lead: float = 0.0, *, by_tokens: bool = False) -> Signals | None:
    """What speaks for a sentence of a passage; None if the question has no content words.

    :param lead: as `lead_of` has it.
    :param by_tokens: how it was counted.
    """
    wanted = stems_in(query)
    if not wanted:
        return None
    around = f"{passage.meta.get('title', '')} {passage.meta.get('heading', '')} {passage.content}"
    return Signals(
        cosine=float(passage.meta.get("dense_score") or 0.0),
        coverage=len(wanted & stems_in(around)) / len(wanted),
        sentence_coverage=len(wanted & stems_in(span)) / len(wanted),
        lead=lead,
        by_tokens=by_tokens,
    )
