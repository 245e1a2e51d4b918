"""What can be seen once the reranker has said its scores: how sure it is, and how much it would change."""

import math
from collections.abc import Sequence

import numpy as np

from ragsaver.components.rerank_order import new_order, spread

NAMES = (
    "reranked_lead_2", "reranked_lead_5", "reranked_first_behind", "reranked_place_of_best",
    "new_first_came_from", "new_first_fused_behind", "new_first_reranked_ahead", "new_lead_2",
    "reranked_most", "reranked_deviation", "orders_correlate", "same_5", "same_10",
)  # fmt: skip


def outcome(fused: Sequence[float], reranked: Sequence[float], mixed: Sequence[float]) -> tuple[float, ...]:
    """One number for each of `NAMES`.

    :param fused: scores of the passages, best first; at least one.
    :param reranked: the reranker's, of the same passages, on its own scale.
    :param mixed: what both make together.
    """
    order = new_order(mixed)
    first = order[0]
    by_reranker, by_mix = (sorted(scores, reverse=True) for scores in (reranked, mixed))
    best = max(range(len(reranked)), key=reranked.__getitem__)
    old, new = spread(fused), spread(reranked)
    return (
        by_reranker[0] - _at(by_reranker, 2),
        by_reranker[0] - _at(by_reranker, 5),
        reranked[best] - reranked[0],
        math.log1p(best),
        math.log1p(first),
        old[0] - old[first],
        new[first] - new[0],
        by_mix[0] - _at(by_mix, 2),
        by_reranker[0],
        float(np.std(reranked)),
        _correlation(old, new),
        *(len(set(order[:depth]) & set(range(depth))) / depth for depth in (5, 10)),
    )


def _at(ordered: Sequence[float], place: int) -> float:
    """The one at a place, or the last."""
    return ordered[min(place, len(ordered)) - 1]


def _correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Pearson's; 0 where one of them is the same everywhere."""
    if min(np.std(one), np.std(other)) < 1e-9:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
