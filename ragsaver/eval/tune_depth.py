"""How early may a question's passages end, and nothing that was judged is lost? Scores that fall off say where."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from ragsaver.components.fusion import Fusion, depth
from ragsaver.eval.metrics import ndcg, recall
from ragsaver.eval.recorded_legs import Legs
from ragsaver.settings import RetrievalSettings

FALL_OFFS = tuple(step / 50 for step in range(50))
# Of a mean, which the third digit does not show.
LOSS = 0.0005

# (questions, fall-offs, 3) float64: nDCG@10, recall and tokens of what stays.
Kept = NDArray[np.float64]


class Shortened(BaseModel):
    """What ending early does to a set, beside passages up to `retrieval.top_k`.

    `recall_change` is of the relevant documents among all passages that stay.
    """

    tokens_saved: float
    ndcg_at_10_change: float = Field(serialization_alias="ndcg@10_change")
    recall_change: float


def kept(asked: Sequence[Legs], fusion: Fusion, lexical_weight: float, settings: RetrievalSettings) -> Kept:
    """What stays of each question's passages, for each of `FALL_OFFS`."""
    return np.array([_of_one(legs, fusion, lexical_weight, settings) for legs in asked])


def harmless(sets: Sequence[Kept]) -> int:
    """The place in `FALL_OFFS` of the largest that costs no set more than `LOSS` of nDCG or recall."""
    lost = np.array([(found[:, :1] - found)[:, :, :2].mean(axis=0) for found in sets])
    return int(np.flatnonzero((lost <= LOSS).all(axis=(0, 2))).max())


def shortened(whole: Kept, cut: Kept) -> Shortened:
    """Compare the means of two ways, (questions, 3) each."""
    before, after = whole.mean(axis=0), cut.mean(axis=0)
    return Shortened(
        tokens_saved=round(1 - float(after[2] / before[2]), 4) if before[2] else 0.0,
        ndcg_at_10_change=round(float(after[0] - before[0]), 4),
        recall_change=round(float(after[1] - before[1]), 4),
    )


def _of_one(
    legs: Legs, fusion: Fusion, lexical_weight: float, settings: RetrievalSettings
) -> list[tuple[float, float, int]]:
    fused = legs.fused(fusion, lexical_weight)[: settings.top_k]
    scores, passages = [score for _, score in fused], [key for key, _ in fused]
    by_depth: dict[int, tuple[float, float, int]] = {}
    ends = [depth(scores, fall_off, settings.least) for fall_off in FALL_OFFS]
    for end in set(ends):
        stays = passages[:end]
        ranking = legs.ranking(stays)
        tokens = sum(legs.tokens.get(key, 0) for key in stays)
        by_depth[end] = ndcg(ranking, legs.judged, 10), recall(ranking, legs.judged, len(ranking)), tokens
    return [by_depth[end] for end in ends]
