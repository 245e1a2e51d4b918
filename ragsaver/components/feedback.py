"""Where the two legs disagree, the best passages help the question: it is asked again, nearer to what they say.

Rocchio's relevance feedback (1971) without a judge: the vectors of the passages that were fused first are added to the
question's, the better ones with more weight, and the vector leg is searched once more. Nothing is embedded for it.
Where both legs name the same passage first, the question has found what it asks for: a second search would be waste.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ragsaver.index.protocol import VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.settings import RetrievalSettings

# The passages' weights are their fused scores to this power.
_POWER = 4


def nearer(
    index: VectorIndex,
    scope: Scope,
    vector: NDArray[np.float32],
    fused: Sequence[tuple[str, float]],
    legs: tuple[Mapping[str, float], Mapping[str, float]],
    settings: RetrievalSettings,
) -> NDArray[np.float32] | None:
    """What the vector leg is to be asked again, (dim,) float32, L2-normalised; None where its answer is to stay.

    :param vector: (dim,) float32, the question's.
    :param fused: ids and scores, best first.
    :param legs: the first answers of both, scores by passage id.
    """
    if not settings.feedback_passages or not settings.feedback_weight or not _disagree(*legs):
        return None
    best = dict(fused[: settings.feedback_passages])
    found = index.vectors(scope, list(best))
    if not found:  # an ingestion has just deleted them
        return None
    rows = np.stack(list(found.values()))
    shares = np.array([best[one] for one in found], dtype=np.float32) ** _POWER
    if not shares.any():
        return None
    moved = vector + settings.feedback_weight * (shares / shares.sum()) @ rows
    return np.asarray(moved / np.linalg.norm(moved), dtype=np.float32)


def _disagree(dense: Mapping[str, float], lexical: Mapping[str, float]) -> bool:
    """Whether the legs name different passages first; one that found nothing names none."""
    return not dense or not lexical or _first(dense) != _first(lexical)


def _first(scores: Mapping[str, float]) -> str:
    return max(scores, key=scores.__getitem__)
