"""What is a sentence worth to a question? Its BM25 score among the sentences of all candidates, and its passage's."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ragsaver.sentences import Sentence

# BM25 for short texts: little weight on length and on repetition. docs/benchmarks.md has the measurements.
K1, B = 0.9, 0.4


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that sentences may be taken from.

    `tokens` counts each sentence; `heading_tokens` is paid once, with the first sentence taken.
    """

    sentences: Sequence[Sentence]
    tokens: Sequence[int]
    heading_tokens: int
    prior: float


def score_sentences(query: Sequence[str], candidates: Sequence[Candidate], prior_weight: float) -> list[list[float]]:
    """The worth of each sentence of each candidate.

    :param query: stems of the question.
    :returns: as many rows as candidates, as many numbers as sentences; BM25 is scaled to at most 1.
    """
    everything = [sentence for candidate in candidates for sentence in candidate.sentences]
    if not everything:
        return [[] for _ in candidates]
    mean = sum(sentence.length for sentence in everything) / len(everything) or 1.0
    idf = {term: _idf(sum(term in s.stems for s in everything), len(everything)) for term in set(query)}
    raw = [[_bm25(idf, sentence, mean) for sentence in candidate.sentences] for candidate in candidates]
    top = max((score for row in raw for score in row), default=0.0) or 1.0
    return [
        [score / top + prior_weight * candidate.prior for score in row]
        for row, candidate in zip(raw, candidates, strict=True)
    ]


def _idf(found_in: int, total: int) -> float:
    return math.log(1 + (total - found_in + 0.5) / (found_in + 0.5))


def _bm25(idf: dict[str, float], sentence: Sentence, mean_length: float) -> float:
    norm = K1 * (1 - B + B * sentence.length / mean_length)
    stems: Counter[str] = sentence.stems
    return sum(weight * stems[term] * (K1 + 1) / (stems[term] + norm) for term, weight in idf.items() if term in stems)
