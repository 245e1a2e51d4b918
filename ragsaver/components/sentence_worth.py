"""What is a sentence worth to a question? How likely it holds the answer, by its words, its passage and what is asked.

A linear score over `FEATURES`, whose weights are shipped: `benchmarks/sentence_worth.py` fits and cross-validates them.
The scores are logits among the candidates' sentences: only their differences mean anything.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragsaver.components.answer_kind import Asked, asked, has_digit
from ragsaver.components.passage_sentences import Sentences
from ragsaver.components.sentence_words import best_of_each, rarity, word_counts, word_scores
from ragsaver.sentences import content_stems, stems_in

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


class Candidate(NamedTuple):
    """A passage that sentences may be taken from.

    `tokens` counts each sentence; `heading_tokens` is paid once, with the first sentence taken. `prior` is the
    passage's score, `dense` its cosine to the question.
    """

    sentences: Sentences
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
    passages = [candidate.sentences for candidate in candidates]
    sizes = np.array([len(one) for one in passages], dtype=np.intp)
    found = np.zeros((sizes.sum(), len(FEATURES)))
    if not len(found):
        return found
    stems = list(dict.fromkeys(content_stems(question)))
    counts, shapes = word_counts(stems, passages), np.concatenate([one.shapes for one in passages])
    in_sentence = counts > 0
    headings = [_heading_stems(one.heading, tenant) for one in candidates]
    in_heading = np.array([[stem in one for stem in stems] for one in headings], dtype=bool)
    in_passage = best_of_each(in_sentence, sizes) | in_heading
    by_sentence, by_passage = rarity(in_sentence), rarity(in_passage)
    words = word_scores(by_sentence, counts, shapes[:, 0])
    before = np.append(0.0, words[:-1])
    before[(np.cumsum(sizes) - sizes)[sizes > 0]] = 0.0
    of = np.repeat(np.arange(len(sizes)), sizes)
    told: dict[str, Any] = {
        "words": words,
        "words_before": before,
        "words_of_passage": best_of_each(words, sizes)[of],
        "coverage": (in_sentence | in_heading[of]) @ by_sentence / (by_sentence.sum() or 1.0),
        "shared": in_sentence.sum(axis=1) / (len(stems) or 1),
        "passage_coverage": (in_passage @ by_passage / (by_passage.sum() or 1.0))[of],
        "prior": np.array([one.prior for one in candidates])[of],
        "dense": np.array([one.dense for one in candidates])[of],
        "rank": 1 / (1 + of),
        "tokens": np.minimum(list(chain.from_iterable(one.tokens for one in candidates)), 100) / 100,
        "listed": shapes[:, 1],
        "code": shapes[:, 2],
        **_held(asked(question), passages, tenant),
    }
    for place, name in enumerate(FEATURES):
        found[:, place] = told.get(name, 0.0)
    return found


@lru_cache(maxsize=8192)
def _heading_stems(heading: str, tenant: str) -> frozenset[str]:
    return frozenset(stems_in(heading))


def _held(wanted: Asked, passages: Sequence[Sentences], tenant: str) -> dict[str, list[bool]]:
    """Which sentences could hold what is asked for, where that is told."""
    if wanted.kind is None:
        return {}
    texts = [one.text for one in chain.from_iterable(passages)]
    held = {str(wanted.kind): [wanted.held_by(text, tenant) for text in texts]}
    return {**held, "digit": list(map(has_digit, texts))} if wanted.kind == "number" else held


@lru_cache(maxsize=2)
def weights(*, tokens: bool = False) -> NDArray[np.float64]:
    """(len(FEATURES),) float64: the shipped weights; with `tokens` those of `TOKEN_FEATURES` behind them."""
    shipped = json.loads((files("ragsaver.components") / "sentence_worth.json").read_text(encoding="utf-8"))
    names = FEATURES + TOKEN_FEATURES if tokens else FEATURES
    of = shipped["weights_with_tokens" if tokens else "weights"]
    return np.array([of[name] for name in names], dtype=np.float64)
