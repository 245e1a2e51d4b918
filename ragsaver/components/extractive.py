"""The free tier: answer with a sentence of the documents, or say that they hold none.

It never writes a word of its own. Its confidence comes from what costs nothing more: how near the passage is to
the question by meaning, and how many of the question's words stand in the passage and in the sentence.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from haystack import Document

from ragsaver.sentences import content_stems
from ragsaver.settings import Settings
from ragsaver.spend.pacing import UNPRESSED, Pace, Service

# Logistic regression over `Signals` for the bundled model; benchmarks/extractive.py fits and checks it.
INTERCEPT, COSINE, COVERAGE, SENTENCE_COVERAGE = -6.0, 5.4, 2.9, 3.6

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
    """

    cosine: float
    coverage: float
    sentence_coverage: float

    @property
    def confidence(self) -> float:
        """How likely the sentence answers, 0 to 1, where half of all questions have an answer."""
        return 1 / (
            1
            + math.exp(
                -INTERCEPT
                - COSINE * self.cosine
                - COVERAGE * self.coverage
                - SENTENCE_COVERAGE * self.sentence_coverage
            )
        )


@dataclass(frozen=True, slots=True)
class Extract:
    """What the free tier says: `text` is verbatim, None if it abstains; `passage` counts from 0."""

    text: str | None
    passage: int
    confidence: float
    reason: str


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
    :param sure_from: confidence from which the free tier's answer is taken although there is a model.
    :param pace: what budgets leave.
    """
    if models == 0:
        return NO_MODEL
    if passages == 0:
        return "there is no passage to answer from: no model was asked"
    if extractive_first and found.text is not None and found.confidence >= sure_from:
        return f"{found.reason}, at least {sure_from:.2f}"
    if pace.service >= Service.EXTRACTIVE:
        return f"no model was asked: {pace.why}"
    return None


def extract(query: str, documents: Sequence[Document], min_confidence: float, found: int = 0) -> Extract:
    """Answer from packed passages.

    :param documents: as the packer gives them, with `spans`, `span_worth` and `dense_score` in their meta.
    :param min_confidence: below it the answer is None.
    :param found: passages before they were packed.
    """
    if not documents:
        return Extract(None, 0, 0.0, _NONE_FITS.format(found) if found else NO_PASSAGES)
    best = best_span(query, documents)
    if best is None:
        return Extract(None, 0, 0.0, "nothing in the documents comes near the question")
    number, span = best
    told = signals(query, documents[number], span)
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
    return Extract(span, number, sure, f"a passage answers it with confidence {sure:.2f}")


def best_span(query: str, documents: Sequence[Document]) -> tuple[int, str] | None:
    """The sentence that is worth most and the position of its passage; of equals the first passage's.

    A sentence that asks, or quotes the question, answers nothing.
    """
    best = max(
        (
            (worth, -number, span)
            for number, document in enumerate(documents)
            for span, worth in zip(document.meta.get("spans", ()), document.meta.get("span_worth", ()), strict=False)
            if not asks(query, span)
        ),
        key=lambda item: item[:2],
        default=None,
    )
    return (-best[1], best[2]) if best else None


def asks(query: str, span: str) -> bool:
    """Whether a sentence is a question, or quotes this one."""
    said, asked = (" ".join(text.casefold().split()) for text in (span, query))
    return said.rstrip("\"'”’)*_ ").endswith(("?", "？")) or (asked.endswith(("?", "？")) and asked in said)


def signals(query: str, passage: Document, span: str) -> Signals | None:
    """What speaks for a sentence of a passage; None if the question has no content words."""
    wanted = set(content_stems(query))
    if not wanted:
        return None
    around = f"{passage.meta.get('title', '')} {passage.meta.get('heading', '')} {passage.content}"
    return Signals(
        cosine=float(passage.meta.get("dense_score") or 0.0),
        coverage=len(wanted & set(content_stems(around))) / len(wanted),
        sentence_coverage=len(wanted & set(content_stems(span))) / len(wanted),
    )
