"""The free tier: answer with a sentence of the documents, or say that they hold none.

It never writes a word of its own. Its confidence comes from two things that cost nothing more: how near the
passage is to the question by meaning, and how many of the question's words stand in it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from haystack import Document

from ragsaver.components.sentences import content_stems

# Where an answer is as likely as not, and how fast that changes: cosine of the bundled model, share of words.
COSINE_MIDDLE, COSINE_SLOPE = 0.38, 8.0
COVERAGE_MIDDLE, COVERAGE_SLOPE = 0.5, 5.0


@dataclass(frozen=True, slots=True)
class Extract:
    """What the free tier says: `text` is verbatim, None if it abstains; `passage` counts from 0."""

    text: str | None
    passage: int
    confidence: float
    reason: str


def confidence(cosine: float, coverage: float) -> float:
    """How likely a passage answers, 0 to 1, by a logistic formula.

    :param cosine: of question and passage.
    :param coverage: share of the question's content words that stand in the passage, 0 to 1.
    """
    return 1 / (1 + math.exp(-COSINE_SLOPE * (cosine - COSINE_MIDDLE) - COVERAGE_SLOPE * (coverage - COVERAGE_MIDDLE)))


def extract(query: str, documents: Sequence[Document], min_confidence: float) -> Extract:
    """Answer from packed passages.

    :param documents: as the packer gives them, with `spans`, `span_worth` and `dense_score` in their meta.
    :param min_confidence: below it the answer is None.
    """
    best = max(
        (
            (worth, number, span)
            for number, document in enumerate(documents)
            for span, worth in zip(document.meta.get("spans", ()), document.meta.get("span_worth", ()), strict=False)
        ),
        key=lambda item: (item[0], -item[1]),
        default=None,
    )
    if best is None:
        return Extract(None, 0, 0.0, "nothing in the documents comes near the question")
    _, number, span = best
    wanted = set(content_stems(query))
    if not wanted:
        return Extract(None, number, 0.0, "the question has no words to look for")
    passage = documents[number]
    there = wanted & set(
        content_stems(f"{passage.meta.get('title', '')} {passage.meta.get('heading', '')} {passage.content}")
    )
    cosine = max((document.meta.get("dense_score") or 0.0 for document in documents), default=0.0)
    sure = confidence(cosine, len(there) / len(wanted))
    if sure < min_confidence:
        return Extract(
            None,
            number,
            sure,
            f"no passage answers this with enough confidence ({sure:.2f} < {min_confidence:.2f})",
        )
    return Extract(span, number, sure, f"a passage answers it with confidence {sure:.2f}")
