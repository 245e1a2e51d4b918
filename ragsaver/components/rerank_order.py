"""One order of passages, made of what retrieval and the reranker say of them."""

from collections.abc import Mapping, Sequence

from ragsaver.components.fusion import min_max


def mix(fused: Sequence[float], reranked: Sequence[float], weight: float) -> list[float]:
    """New scores within the range of the fused ones, so that they stay comparable with what was not looked at.

    :param fused: of the passages that were looked at.
    :param reranked: as many, on any scale.
    :param weight: share of the reranker, 0 to 1.
    """
    if not fused:
        return []
    low, high = min(fused), max(fused)
    old, new = (spread(scores) for scores in (fused, reranked))
    return [low + (high - low) * ((1 - weight) * a + weight * b) for a, b in zip(old, new, strict=True)]


def new_order(scores: Sequence[float]) -> list[int]:
    """Positions, best first; those that score alike stay as they stood."""
    return sorted(range(len(scores)), key=lambda position: (-scores[position], position))


def left_behind(scores: Sequence[float], depth: int = 5) -> float:
    """Share of the best scores that the first passages lack as they stand: what skipping cost in the reranker's eyes.

    :param scores: new ones, in the old order.
    """
    best = sum(sorted(scores, reverse=True)[:depth])
    return max(0.0, 1 - sum(scores[:depth]) / best) if best > 0 else 0.0


def spread(scores: Sequence[float]) -> list[float]:
    """Scores spread over 0 to 1; all alike become 1."""
    by_place: Mapping[str, float] = min_max({str(place): score for place, score in enumerate(scores)})
    return list(by_place.values())
