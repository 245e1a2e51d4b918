"""Two rankings, one order: the scores of both legs on a common scale, weighed and added.

Which scale is best is for the evaluation to say (see docs/benchmarks.md). The engine can fuse by ranks and by
distributions as well (see `blending.py`); it then keeps the legs' own scores to itself, which the reranking gate and
`--explain` want to see.
"""

import math
import statistics
from collections.abc import Callable, Mapping
from enum import StrEnum

# The constant of Cormack, Clarke and Büttcher (2009): the larger, the less the first ranks count.
RRF_K = 60


class Fusion(StrEnum):
    """How the scores of a leg are made comparable with another's."""

    MIN_MAX = "minmax"
    Z_SCORE = "zscore"
    RRF = "rrf"
    DBSF = "dbsf"


def min_max(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores spread over 0 to 1; all alike become 1."""
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    if high == low:
        return dict.fromkeys(scores, 1.0)
    return {key: (score - low) / (high - low) for key, score in scores.items()}


def z_scores(scores: Mapping[str, float]) -> dict[str, float]:
    """Standard deviations above the leg's lowest score: what a leg lacks is as good as its last, and no better."""
    deviation = statistics.pstdev(scores.values()) if scores else 0.0
    if not deviation:
        return dict.fromkeys(scores, 1.0)
    low = min(scores.values())
    return {key: (score - low) / deviation for key, score in scores.items()}


def reciprocal_ranks(scores: Mapping[str, float]) -> dict[str, float]:
    """`(k + 1) / (k + rank)`, 1 for the first; ties by id."""
    return {key: (RRF_K + 1) / (RRF_K + rank) for rank, (key, _) in enumerate(in_order(scores), start=1)}


def in_order(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    """Ids with scores, best first; ties by id, so that the order is the same every time."""
    by_id = sorted(scores)
    return [(key, scores[key]) for key in sorted(by_id, key=scores.__getitem__, reverse=True)]


def by_distribution(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores on a line that is 0 three standard deviations below the mean and 1 three above, as Qdrant has it.

    What is farther above is worth more than 1: to cut it there would take the lead from the one passage that has it.
    """
    deviation = statistics.stdev(scores.values()) if len(scores) > 1 else 0.0
    if not deviation:
        return dict.fromkeys(scores, 0.5)
    low = statistics.fmean(scores.values()) - 3 * deviation
    return {key: (score - low) / (6 * deviation) for key, score in scores.items()}


_SCALES: dict[Fusion, Callable[[Mapping[str, float]], dict[str, float]]] = {
    Fusion.MIN_MAX: min_max,
    Fusion.Z_SCORE: z_scores,
    Fusion.RRF: reciprocal_ranks,
    Fusion.DBSF: by_distribution,
}

# Those without ends are squashed into 0 to 1, which keeps the order; a distribution's stays as it is about its middle.
_SQUASHED: dict[Fusion, Callable[[float], float]] = {
    Fusion.Z_SCORE: lambda score: 1 - math.exp(-score),
    Fusion.DBSF: lambda score: 0.5 + math.tanh(2 * score - 1) / 2,
}


def fuse(
    dense: Mapping[str, float],
    lexical: Mapping[str, float],
    lexical_weight: float,
    fusion: Fusion = Fusion.MIN_MAX,
) -> list[tuple[str, float]]:
    """Fuse two legs by weighted scores.

    :param dense: cosine by passage id.
    :param lexical: BM25 by passage id.
    :param lexical_weight: share of BM25, 0 to 1. A leg that found nothing leaves its share to the other.
    :returns: ids with scores in 0 to 1, best first; ties by id, so that the order is the same every time.
    """
    if not lexical:
        lexical_weight = 0.0
    elif not dense:
        lexical_weight = 1.0
    by_dense, by_words = _SCALES[fusion](dense), _SCALES[fusion](lexical)
    fused = {key: (1 - lexical_weight) * score for key, score in by_dense.items()}
    for key, score in by_words.items():
        fused[key] = fused.get(key, 0.0) + lexical_weight * score
    squash = _SQUASHED.get(fusion)
    return in_order({key: squash(score) for key, score in fused.items()} if squash else fused)


def squashed(fusion: Fusion, score: float) -> float:
    """A fused score as a share."""
    squash = _SQUASHED.get(fusion)
    return squash(score) if squash else score


def depth(scores: list[float], fall_off: float, least: int) -> int:
    """How many of the best passages are worth keeping: those before the scores fall below a share of the first.

    :param scores: best first, 0 to 1.
    :param fall_off: the share, 0 to 1; 0 keeps all.
    :param least: that many are kept in any case.
    """
    if not scores:
        return 0
    kept = sum(1 for score in scores if score >= fall_off * scores[0])
    return min(len(scores), max(kept, least))
