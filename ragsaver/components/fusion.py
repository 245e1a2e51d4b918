"""Two rankings, one order: the scores of both legs on a common scale, weighed and added.

Adding scores beats adding ranks on both measured sets (see docs/benchmarks.md): a passage far ahead of the
rest keeps its lead.
"""

from collections.abc import Mapping


def min_max(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores spread over 0 to 1; all alike become 1."""
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    if high == low:
        return dict.fromkeys(scores, 1.0)
    return {key: (score - low) / (high - low) for key, score in scores.items()}


def fuse(dense: Mapping[str, float], lexical: Mapping[str, float], lexical_weight: float) -> list[tuple[str, float]]:
    """Fuse two legs by weighted min-max scores.

    :param dense: cosine by passage id.
    :param lexical: BM25 by passage id.
    :param lexical_weight: share of BM25, 0 to 1. A leg that found nothing leaves its share to the other.
    :returns: ids with scores in 0 to 1, best first; ties by id, so that the order is the same every time.
    """
    if not lexical:
        lexical_weight = 0.0
    elif not dense:
        lexical_weight = 1.0
    by_dense, by_words = min_max(dense), min_max(lexical)
    fused = {
        key: (1 - lexical_weight) * by_dense.get(key, 0.0) + lexical_weight * by_words.get(key, 0.0)
        for key in by_dense.keys() | by_words.keys()
    }
    return sorted(fused.items(), key=lambda item: (-item[1], item[0]))
