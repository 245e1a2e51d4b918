"""Ranking metrics as pure functions of a ranking and its judgements."""

import math
from collections.abc import Mapping, Sequence


def ndcg(ranking: Sequence[str], judged: Mapping[str, int], depth: int) -> float:
    """Normalised discounted cumulative gain with linear gains (Järvelin & Kekäläinen 2002)."""
    gained = sum(max(judged.get(d, 0), 0) / math.log2(n + 2) for n, d in enumerate(ranking[:depth]))
    best = sorted((grade for grade in judged.values() if grade > 0), reverse=True)[:depth]
    ideal = sum(grade / math.log2(n + 2) for n, grade in enumerate(best))
    return gained / ideal if ideal else 0.0


def recall(ranking: Sequence[str], judged: Mapping[str, int], depth: int) -> float:
    """Share of the relevant documents in the first `depth`."""
    relevant = {d for d, grade in judged.items() if grade > 0}
    return len(relevant.intersection(ranking[:depth])) / len(relevant) if relevant else 0.0


def mrr(ranking: Sequence[str], judged: Mapping[str, int], depth: int) -> float:
    """One over the rank of the first relevant document, 0 if it is deeper than `depth`."""
    return next((1 / n for n, d in enumerate(ranking[:depth], 1) if judged.get(d, 0) > 0), 0.0)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of the values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))] if ordered else 0.0
