"""What can be seen of a question before a model is asked: its shape, and what retrieval found for it.

All of it is at hand when the router is asked. The shape is text only, so a router learns it from a list of questions;
what retrieval found is learned where the recorded outcomes carry it.
"""

import math
import re
from collections.abc import Sequence

from haystack import Document

from ragsaver.sentences import content_stems

SHAPE = (
    "words", "characters", "word_length", "distinct_words", "content_words", "digits", "numbers", "math_signs",
    "code_signs", "capitals", "lines", "question_marks", "negation", "blank", "conditional", "comparison",
    "options", "option_length", "option_spread", "numeric_options",
    "asks_what", "asks_which", "asks_who", "asks_when", "asks_where", "asks_why", "asks_how", "asks_to_compute",
)  # fmt: skip
FOUND = ("confidence", "coverage", "dense_first", "dense_lead", "agreement", "passages", "past_turns")

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_CODE = re.compile(r"[{};`]|==|!=|->|\bdef |\breturn\b|\bimport |\w\(\)")
_NEGATION = re.compile(r"\b(?:not|no|never|except|neither|nor|without|false|incorrect|\w+n't)\b", re.IGNORECASE)
_BLANK = re.compile(r"_{2,}|\.{4,}")
_CONDITIONAL = re.compile(r"\b(?:if|suppose|assume|given that|unless|would)\b", re.IGNORECASE)
_COMPARISON = re.compile(r"\b(?:than|versus|vs|compare|difference|best|most|least|more|less|higher|lower)\b", re.I)
_OPTION = re.compile(r"^[ \t]*(?:\(?[A-Ja-j1-9][.)])[ \t]+(.*)$", re.MULTILINE)
_COMPUTE = re.compile(r"\b(?:calculate|compute|find|solve|evaluate|how (?:many|much)|prove|derive)\b", re.IGNORECASE)
_ASKS = tuple(
    re.compile(rf"\b{word}\b", re.IGNORECASE) for word in ("what", "which", "who", "when", "where", "why", "how")
)


def question_shape(question: str) -> tuple[float, ...]:
    """One number for each of `SHAPE`, from the text alone."""
    words = question.split()
    of = max(len(words), 1)
    letters = max(len(question), 1)
    options = [option.strip() for option in _OPTION.findall(question)]
    lengths = [len(option) for option in options]
    mean = sum(lengths) / len(lengths) if lengths else 0.0
    begins = _OPTION.search(question)
    stem = question[: begins.start()] if begins else question
    return (
        math.log1p(len(words)),
        math.log1p(len(question)),
        sum(map(len, words)) / of,
        len({word.casefold() for word in words}) / of,
        len(content_stems(question)) / of,
        sum(letter.isdigit() for letter in question) / letters,
        math.log1p(len(_NUMBER.findall(question))),
        sum(letter in "+-*/=^<>|\\$%√∑∫≤≥" for letter in question) / letters,
        float(bool(_CODE.search(question))),
        sum(letter.isupper() for letter in question) / letters,
        math.log1p(question.count("\n")),
        math.log1p(question.count("?")),
        float(bool(_NEGATION.search(stem))),
        float(bool(_BLANK.search(stem))),
        float(bool(_CONDITIONAL.search(stem))),
        float(bool(_COMPARISON.search(stem))),
        float(len(options)),
        math.log1p(mean),
        math.log1p(max(lengths) - min(lengths)) if lengths else 0.0,
        sum(bool(_NUMBER.match(option.lstrip("-$ "))) for option in options) / max(len(options), 1),
        *(float(bool(word.search(stem))) for word in _ASKS),
        float(bool(_COMPUTE.search(stem))),
    )


def found_signs(confidence: float, question: str, documents: Sequence[Document], past_turns: int) -> tuple[float, ...]:
    """One number for each of `FOUND`.

    :param confidence: of the free tier, 0 to 1.
    :param documents: the packed passages.
    :param past_turns: messages of the conversation before this question.
    """
    dense = [float(document.meta.get("dense_score") or 0.0) for document in documents]
    ordered = sorted(dense, reverse=True)
    both = sum(
        document.meta.get("dense_score") is not None and document.meta.get("lexical_score") is not None
        for document in documents
    )
    return (
        confidence,
        evidence_coverage(question, documents),
        ordered[0] if ordered else 0.0,
        ordered[0] - ordered[min(4, len(ordered) - 1)] if ordered else 0.0,
        both / len(documents) if documents else 0.0,
        math.log1p(len(documents)),
        math.log1p(past_turns),
    )


def evidence_coverage(question: str, documents: Sequence[Document]) -> float:
    """Share of the question's content words that stand anywhere in the packed passages; 0 if it has none."""
    wanted = set(content_stems(question))
    if not wanted:
        return 0.0
    there = set[str]()
    for document in documents:
        around = f"{document.meta.get('title', '')} {document.meta.get('heading', '')} {document.content or ''}"
        there.update(content_stems(around))
    return len(wanted & there) / len(wanted)
