"""What can be seen of a question and its passages before a reranker is paid: agreement, margins, shape, words.

All of it is at hand: the scores of both legs, and the sentences that packing looks at anyway.
"""

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ragsaver.components.document_values import score_of
from ragsaver.components.passage_sentences import Sentences, sentences
from ragsaver.components.sentence_words import best_of_each, rarity, word_counts, word_scores
from ragsaver.sentences import content_stems

if TYPE_CHECKING:
    from haystack import Document

NAMES = (
    "agree_1", "agree_3", "agree_5", "agree_10", "dense_place_of_first", "lexical_place_of_first",
    "fused_lead_2", "fused_lead_3", "fused_lead_5", "fused_lead_10",
    "dense_lead_2", "dense_lead_5", "lexical_lead_2", "lexical_lead_5",
    "fused_first", "fused_spread", "dense_first", "lexical_by_word",
    "sentence_place_of_first", "sentence_first_is_best", "sentence_lead", "sentence_behind", "sentence_lead_2",
    "sentence_cover", "sentence_cover_behind", "sentence_cover_as_good",
    "passage_cover", "passage_cover_behind", "passage_cover_as_good",
    "words", "content_words", "numbers", "names",
)  # fmt: skip


def features(question: str, passages: Sequence["Document"], tenant: str) -> tuple[float, ...]:
    """One number for each of `NAMES`.

    :param passages: best first, as the retriever scored them; at least one.
    :param tenant: whose passages these are.
    """
    dense = _filled([passage.meta.get("dense_score") for passage in passages])
    lexical = _filled([passage.meta.get("lexical_score") for passage in passages])
    fused = [score_of(passage) for passage in passages]
    top = max(max(lexical), 1e-9)
    words = question.split()
    return (
        *_agreement(dense, lexical),
        *(_lead(fused, place) for place in (2, 3, 5, 10)),
        *(_lead(sorted(dense, reverse=True), place) for place in (2, 5)),
        *(_lead(sorted(lexical, reverse=True), place) / top for place in (2, 5)),
        fused[0],
        statistics.pstdev(fused),
        max(dense),
        max(lexical) / max(len(words), 1),
        *_of_sentences(content_stems(question), [sentences(passage.content or "", tenant) for passage in passages]),
        math.log1p(len(words)),
        len(content_stems(question)) / max(len(words), 1),
        float(any(letter.isdigit() for letter in question)),
        float(any(word[0].isupper() for word in words[1:])),
    )


def _filled(scores: Sequence[float | None]) -> list[float]:
    """A leg that did not find a passage would have scored it no higher than the last that it found."""
    lowest = min((score for score in scores if score is not None), default=0.0)
    return [lowest if score is None else float(score) for score in scores]


def _agreement(dense: Sequence[float], lexical: Sequence[float]) -> tuple[float, ...]:
    by_dense, by_words = _order(dense), _order(lexical)
    shared = (len(set(by_dense[:depth]) & set(by_words[:depth])) / depth for depth in (1, 3, 5, 10))
    return *shared, math.log1p(by_dense.index(0)), math.log1p(by_words.index(0))


def _order(scores: Sequence[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda position: (-scores[position], position))


def _lead(ordered: Sequence[float], place: int) -> float:
    """How far the first is ahead of the one at a place, or of the last."""
    return ordered[0] - ordered[min(place, len(ordered)) - 1]


def _of_sentences(query: Sequence[str], passages: Sequence[Sentences]) -> tuple[float, ...]:
    stems = list(dict.fromkeys(query))
    sizes = np.array([len(one) for one in passages], dtype=np.intp)
    counts = word_counts(stems, passages)
    has = counts > 0
    lengths = np.concatenate([one.shapes[:, 0] for one in passages])
    best = best_of_each(word_scores(rarity(has), counts, lengths), sizes).tolist()
    in_sentence = best_of_each(has.sum(axis=1), sizes) / max(len(stems), 1)
    in_passage = best_of_each(has, sizes).sum(axis=1) / max(len(stems), 1)
    ordered = sorted(best, reverse=True)
    ahead = best[0] - max(best[1:], default=0.0)
    place = _order(best).index(0)
    return (
        math.log1p(place),
        float(place == 0),
        max(ahead, 0.0),
        max(-ahead, 0.0),
        _lead(ordered, 2),
        *_cover(in_sentence.tolist()),
        *_cover(in_passage.tolist()),
    )


def _cover(shares: Sequence[float]) -> tuple[float, float, float]:
    """The first passage's share of the question's words, what the best one has beyond it, and how many have as much."""
    return shares[0], max(shares) - shares[0], sum(share >= shares[0] for share in shares) / len(shares)
