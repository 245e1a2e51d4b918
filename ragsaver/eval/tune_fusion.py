"""Which fusion, which weight of BM25 and which end serve the judged documents best? Both legs are recorded once."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, Field

from ragsaver.components.fusion import Fusion
from ragsaver.eval.dataset import names_of
from ragsaver.eval.metrics import ndcg
from ragsaver.eval.recorded_legs import Legs, record_legs
from ragsaver.eval.tune_depth import FALL_OFFS, Shortened, harmless, kept, shortened
from ragsaver.settings import RetrievalSettings, Settings

DEPTH = 10
FOLDS = 5
WEIGHTS = tuple(step / 20 for step in range(21))

Way = tuple[Fusion, float]


class FusionRow(BaseModel):
    """One way to fuse, at its best weight: the mean over the sets decides.

    `fall_off` is the largest that costs no set anything; `shortened` says what it does to each.
    """

    fusion: str
    lexical_weight: float
    ndcg_at_10: dict[str, float] = Field(serialization_alias="ndcg@10")
    mean: float
    fall_off: float
    shortened: dict[str, Shortened]


class FusionReport(BaseModel):
    """The ways, best first, and what choosing way, weight and fall-off on other questions gave on each set."""

    queries: dict[str, int]
    rows: list[FusionRow]
    cross_validated: dict[str, float]
    cross_validated_shortened: dict[str, Shortened]


class _Fold(NamedTuple):
    mine: list[int]
    others: list[int]
    best: Way


def tune_fusion(folders: Sequence[Path], settings: Settings) -> FusionReport:
    """Try every way on the judged questions of some datasets.

    :raises UsageError: if a dataset is wrong or has no judged question, or two have the same name.
    """
    recorded = {name: record_legs(folder, settings) for name, folder in zip(names_of(folders), folders, strict=True)}
    return judge(recorded, settings.retrieval)


def judge(recorded: Mapping[str, Sequence[Legs]], settings: RetrievalSettings) -> FusionReport:
    """Compare the ways on what was recorded, by the name of the set.

    :param settings: how many passages stay at most, and at least.
    """
    ways = [(fusion, weight) for fusion in Fusion for weight in WEIGHTS]
    gains = {name: {way: [_gain(legs, *way) for legs in asked] for way in ways} for name, asked in recorded.items()}
    rows = [_row(fusion, gains, recorded, settings) for fusion in Fusion]
    folds = {name: list(_folds(found)) for name, found in gains.items()}
    return FusionReport(
        queries={name: len(asked) for name, asked in recorded.items()},
        rows=sorted(rows, key=lambda row: -row.mean),
        cross_validated={name: round(_unseen(gains[name], found), 4) for name, found in folds.items()},
        cross_validated_shortened={
            name: _shortened_unseen(recorded[name], found, settings) for name, found in folds.items()
        },
    )


def _row(
    fusion: Fusion,
    gains: Mapping[str, Mapping[Way, Sequence[float]]],
    recorded: Mapping[str, Sequence[Legs]],
    settings: RetrievalSettings,
) -> FusionRow:
    by_weight = {
        weight: {name: statistics.fmean(found[fusion, weight]) for name, found in gains.items()} for weight in WEIGHTS
    }
    weight = max(WEIGHTS, key=lambda one: statistics.fmean(by_weight[one].values()))
    means = {name: round(mean, 4) for name, mean in by_weight[weight].items()}
    stays = {name: kept(asked, fusion, weight, settings) for name, asked in recorded.items()}
    end = harmless(list(stays.values()))
    return FusionRow(
        fusion=fusion,
        lexical_weight=weight,
        ndcg_at_10=means,
        mean=statistics.fmean(means.values()),
        fall_off=FALL_OFFS[end],
        shortened={name: shortened(found[:, 0], found[:, end]) for name, found in stays.items()},
    )


def _gain(legs: Legs, fusion: Fusion, weight: float) -> float:
    ranking = legs.ranking([key for key, _ in legs.fused(fusion, weight)])
    return ndcg(ranking, legs.judged, DEPTH)


def _folds(found: Mapping[Way, Sequence[float]]) -> Iterator[_Fold]:
    """Questions, and the way that was best on the other folds'."""
    count = len(next(iter(found.values())))
    for fold in range(min(FOLDS, count)):
        mine = list(range(fold, count, FOLDS))
        others = [number for number in range(count) if number % FOLDS != fold]
        yield _Fold(mine, others, max(found, key=lambda way: sum(found[way][number] for number in others)))


def _unseen(found: Mapping[Way, Sequence[float]], folds: Sequence[_Fold]) -> float:
    """The mean gain of questions under the way that was best on the other folds."""
    return statistics.fmean(found[best][number] for mine, _, best in folds for number in mine)


def _shortened_unseen(asked: Sequence[Legs], folds: Sequence[_Fold], settings: RetrievalSettings) -> Shortened:
    """What the fall-off that was harmless on the other folds does to a fold."""
    stays = {best: kept(asked, *best, settings) for best in {fold.best for fold in folds}}
    whole, cut = [], []
    for mine, others, best in folds:
        found = stays[best]
        end = harmless([found[others]]) if others else 0
        whole.append(found[mine, 0])
        cut.append(found[mine, end])
    return shortened(np.concatenate(whole), np.concatenate(cut))
