"""What can be seen of a question before a model is asked: its shape, and what retrieval found for it.

All of it is at hand when the router is asked. The shape is text only, so a router learns it from a list of questions;
what retrieval found is learned where the recorded outcomes carry it.
"""

import math
import re
from collections.abc import Sequence

from haystack import Document

from ragsaver.sentences import STOP_WORDS, stems_in

SHAPE = (
    "words", "characters", "word_length", "distinct_words", "content_words", "digits", "numbers", "math_signs",
    "code_signs", "capitals", "lines", "question_marks", "negation", "blank", "conditional", "comparison",
    "options", "option_length", "option_spread", "numeric_options",
    "asks_what", "asks_which", "asks_who", "asks_when", "asks_where", "asks_why", "asks_how", "asks_to_compute",
)  # fmt: skip
FOUND = ("confidence", "coverage", "dense_first", "dense_lead", "agreement", "passages", "past_turns")

_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_OPTION = re.compile(r"^[ \t]*(?:\(?[A-Ja-j1-9][.)])[ \t]+(.*)$", re.MULTILINE)
_CODE = re.compile(r"[{};`]|==|!=|->|\bdef |\breturn\b|\bimport |\w\(\)")
_CODE_HINTS = ("{", "}", ";", "`", "==", "!=", "->", "def ", "return", "import ", "()")
_MATH = frozenset("+-*/=^<>|\\$%√∑∫≤≥")
_NEGATION = frozenset("not no never except neither nor without false incorrect".split())
_CONDITIONAL = frozenset("if suppose assume unless would".split())
_COMPARISON = frozenset("than versus vs compare difference best most least more less higher lower".split())
_COMPUTE = frozenset("calculate compute find solve evaluate prove derive".split())
_ASKS = ("what", "which", "who", "when", "where", "why", "how")


def question_shape(question: str) -> tuple[float, ...]:
    """One number for each of `SHAPE`, from the text alone."""
    words = question.split()
    of = max(len(words), 1)
    letters = max(len(question), 1)
    options = [option.strip() for option in _OPTION.findall(question)]
    lengths = [len(option) for option in options]
    mean = sum(lengths) / len(lengths) if lengths else 0.0
    begins = _OPTION.search(question)
    stem = (question[: begins.start()] if begins else question).lower()
    asked = frozenset(_WORD.findall(stem))
    return (
        math.log1p(len(words)),
        math.log1p(len(question)),
        sum(map(len, words)) / of,
        len({word.casefold() for word in words}) / of,
        sum(word not in STOP_WORDS for word in _WORD.findall(question.lower())) / of,
        sum(map(str.isdigit, question)) / letters,
        math.log1p(len(_NUMBER.findall(question))),
        sum(map(_MATH.__contains__, question)) / letters,
        float(any(hint in question for hint in _CODE_HINTS) and bool(_CODE.search(question))),
        sum(map(str.isupper, question)) / letters,
        math.log1p(question.count("\n")),
        math.log1p(question.count("?")),
        float(not _NEGATION.isdisjoint(asked) or "n't" in stem),
        float("__" in stem or "...." in stem),
        float(not _CONDITIONAL.isdisjoint(asked) or "given that" in stem),
        float(not _COMPARISON.isdisjoint(asked)),
        float(len(options)),
        math.log1p(mean),
        math.log1p(max(lengths) - min(lengths)) if lengths else 0.0,
        sum(bool(_NUMBER.match(option.lstrip("-$ "))) for option in options) / max(len(options), 1),
        *(float(word in asked) for word in _ASKS),
        float(not _COMPUTE.isdisjoint(asked) or "how many" in stem or "how much" in stem),
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
    wanted = stems_in(question)
    if not wanted:
        return 0.0
    there = set[str]()
    for document in documents:
        around = f"{document.meta.get('title', '')} {document.meta.get('heading', '')} {document.content or ''}"
        there.update(stems_in(around))
    return len(wanted & there) / len(wanted)
