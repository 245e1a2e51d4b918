"""What is a sentence worth to a question? How likely it holds the answer, by its words, its passage and what is asked.

A linear score over `FEATURES`, whose weights are shipped: `benchmarks/sentence_worth.py` fits and cross-validates them.
The scores are logits among the candidates' sentences: only their differences mean anything.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from ragsaver.components.answer_kind import Asked, asked, has_digit
from ragsaver.components.sentence_words import rarity, said_by, word_scores
from ragsaver.sentences import Sentence, content_stems

FEATURES = (
    "words",  # BM25 among the candidates' sentences, 0 to 1
    "words_before",  # of the sentence in front of it
    "words_of_passage",  # of the passage's best sentence
    "coverage",  # share of the question's stems, by rarity, that sentence and heading have
    "shared",  # plain share of them in the sentence
    "passage_coverage",  # share of them, by rarity, that passage and heading have
    "prior",  # the passage's score
    "dense",  # the passage's cosine
    "rank",  # one over the passage's place
    "tokens",  # hundreds of them, 1 at most
    "listed",  # a list item or table row
    "code",
    "date",  # one where one is asked for; so the others
    "number",
    "digit",
    "name",
    "place",
    "cause",
)
# Told by `sentence_match`, where sentences are held against the question by their tokens too.
TOKEN_FEATURES = (
    "match",  # mean, over the question's tokens, of the best cosine to one of the sentence's
    "match_before",  # of the sentence in front of it
    "match_of_passage",  # of all the passage's tokens
    "match_least",  # of the question's token that it matches worst
    "pooled",  # cosine of the mean of its tokens to the question's vector
    "unread",  # the model did not read so far
    "match_rank",  # one over its place among all candidates' sentences, by `match`
    "pooled_rank",  # by `pooled`
)
_NOTHING_ASKED = (0.0,) * 6


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that sentences may be taken from.

    `tokens` counts each sentence; `heading_tokens` is paid once, with the first sentence taken. `prior` is the
    passage's score, `dense` its cosine to the question.
    """

    sentences: Sequence[Sentence]
    tokens: Sequence[int]
    heading_tokens: int
    prior: float
    dense: float = 0.0
    heading: str = ""


def score_sentences(
    question: str, candidates: Sequence[Candidate], matches: NDArray[np.float64] | None = None, tenant: str = ""
) -> list[list[float]]:
    """The worth of each sentence of each candidate, passages best first.

    :param matches: (sentences, len(TOKEN_FEATURES)), as `sentence_match` gives them; None where only words are known.
    :param tenant: whose passages these are.
    :returns: as many rows as candidates, as many numbers as sentences.
    """
    known = features(question, candidates, tenant)
    if matches is not None:
        known = np.hstack([known, matches])
    return by_candidate((known @ weights(tokens=matches is not None)).tolist(), candidates)


def by_candidate(scores: Sequence[float], candidates: Sequence[Candidate]) -> list[list[float]]:
    """Scores of all sentences, a row for each candidate."""
    left = iter(scores)
    return [list(islice(left, len(candidate.sentences))) for candidate in candidates]


def features(question: str, candidates: Sequence[Candidate], tenant: str = "") -> NDArray[np.float64]:
    """(sentences of all candidates, len(FEATURES)) float64.

    :param tenant: whose passages these are.
    """
    query, wanted = content_stems(question), asked(question)
    stems = set(query)
    passages = [candidate.sentences for candidate in candidates]
    said = said_by(stems, passages)
    by_sentence = rarity(query, chain.from_iterable(said))
    scores = word_scores(by_sentence, passages, said)
    headings = [stems & _heading_stems(candidate.heading, tenant) for candidate in candidates]
    wholes = [heading.union(*row) for heading, row in zip(headings, said, strict=True)]
    by_passage = rarity(query, wholes)
    of_sentences, of_passages = sum(by_sentence.values()) or 1.0, sum(by_passage.values()) or 1.0
    rows: list[tuple[float, ...]] = []
    for place, (candidate, words, heading, row, whole) in enumerate(
        zip(candidates, scores, headings, said, wholes, strict=True)
    ):
        of_passage = (
            math.fsum(map(by_passage.__getitem__, whole)) / of_passages,
            candidate.prior,
            candidate.dense,
            1 / (1 + place),
        )
        best = max(words, default=0.0)
        for column, (one, has) in enumerate(zip(candidate.sentences, row, strict=True)):
            rows.append(
                (
                    words[column],
                    words[column - 1] if column else 0.0,
                    best,
                    math.fsum(map(by_sentence.__getitem__, has | heading)) / of_sentences,
                    len(has) / (len(stems) or 1),
                    *of_passage,
                    min(candidate.tokens[column], 100) / 100,
                    one.listed,
                    one.code,
                    *_kinds(wanted, one.text, tenant),
                )
            )
    return np.array(rows, dtype=np.float64).reshape(-1, len(FEATURES))


@lru_cache(maxsize=8192)
def _heading_stems(heading: str, tenant: str) -> frozenset[str]:
    return frozenset(content_stems(heading))


def _kinds(wanted: Asked, sentence: str, tenant: str) -> tuple[float, ...]:
    if wanted.kind is None:
        return _NOTHING_ASKED
    held = wanted.held_by(sentence, tenant)
    return (
        float(held and wanted.kind == "date"),
        float(held and wanted.kind == "number"),
        float(wanted.kind == "number" and has_digit(sentence)),
        float(held and wanted.kind == "name"),
        float(held and wanted.kind == "place"),
        float(held and wanted.kind == "cause"),
    )


@lru_cache(maxsize=2)
def weights(*, tokens: bool = False) -> NDArray[np.float64]:
    """(len(FEATURES),) float64: the shipped weights; with `tokens` those of `TOKEN_FEATURES` behind them."""
    shipped = json.loads((files("ragsaver.components") / "sentence_worth.json").read_text(encoding="utf-8"))
    names = FEATURES + TOKEN_FEATURES if tokens else FEATURES
    of = shipped["weights_with_tokens" if tokens else "weights"]
    return np.array([of[name] for name in names], dtype=np.float64)
