"""Which fusion, and which weight of BM25, orders the judged documents best? Both legs are recorded once."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field

from ragsaver.components.feedback import nearer
from ragsaver.components.fusion import Fusion, fuse
from ragsaver.eval.dataset import judged_queries, load_dataset
from ragsaver.eval.harness import indexed
from ragsaver.eval.metrics import ndcg
from ragsaver.settings import Settings

DEPTH = 10
FOLDS = 5
WEIGHTS = tuple(step / 20 for step in range(21))


@dataclass(frozen=True, slots=True)
class Legs:
    """What both legs found for a question, as scores by passage, the documents that the passages are of, and grades.

    :ivar again: what the vector leg found when it was asked again.
    """

    dense: Mapping[str, float]
    lexical: Mapping[str, float]
    documents: Mapping[str, str]
    judged: Mapping[str, int]
    again: Mapping[str, float] | None = None


class FusionRow(BaseModel):
    """One way to fuse, at its best weight: the mean over the sets decides."""

    fusion: str
    lexical_weight: float
    ndcg_at_10: dict[str, float] = Field(serialization_alias="ndcg@10")
    mean: float


class FusionReport(BaseModel):
    """The ways, best first, and what choosing way and weight on other questions gave on each set."""

    queries: dict[str, int]
    rows: list[FusionRow]
    cross_validated: dict[str, float]


def tune_fusion(folders: Sequence[Path], settings: Settings) -> FusionReport:
    """Try every way on the judged questions of some datasets.

    :raises UsageError: if a dataset is wrong or has no judged question.
    """
    recorded = {folder.name: record_legs(folder, settings) for folder in folders}
    return judge(recorded)


def record_legs(folder: Path, settings: Settings) -> list[Legs]:
    """Ask every judged question once."""
    dataset = load_dataset(folder)
    queries = judged_queries(dataset, folder)
    recorded: list[Legs] = []
    with indexed(dataset, settings) as runtime:
        resources, scope = runtime.resources, runtime.scope()
        index, asked = resources.index, settings.retrieval
        for query in queries:
            vector = resources.encoder.encode([query.text], query=True)[0]
            dense, lexical = index.search(scope, query.text, vector, asked.candidates, with_payload=False).scores()
            fused = fuse(dense, lexical, asked.lexical_weight, Fusion(asked.fusion))
            again: Mapping[str, float] | None = None
            if (moved := nearer(index, scope, vector, fused, (dense, lexical), asked)) is not None:
                again, _ = index.search(scope, "", moved, asked.candidates, with_payload=False).scores()
            payloads = index.payloads(scope, list({**dense, **lexical, **(again or {})}))
            documents = {one: str(payload["source"]) for one, payload in payloads.items()}
            recorded.append(Legs(dense, lexical, documents, dataset.judged[query.id], again))
    return recorded


def judge(recorded: Mapping[str, Sequence[Legs]]) -> FusionReport:
    """Compare the ways on what was recorded, by the name of the set."""
    ways = [(fusion, weight) for fusion in Fusion for weight in WEIGHTS]
    gains = {name: {way: [_gain(legs, *way) for legs in asked] for way in ways} for name, asked in recorded.items()}
    rows = []
    for fusion in Fusion:
        by_weight = {
            weight: {name: statistics.fmean(found[fusion, weight]) for name, found in gains.items()}
            for weight in WEIGHTS
        }
        weight = max(WEIGHTS, key=lambda one: statistics.fmean(by_weight[one].values()))
        means = {name: round(mean, 4) for name, mean in by_weight[weight].items()}
        rows.append(
            FusionRow(fusion=fusion, lexical_weight=weight, ndcg_at_10=means, mean=statistics.fmean(means.values()))
        )
    return FusionReport(
        queries={name: len(asked) for name, asked in recorded.items()},
        rows=sorted(rows, key=lambda row: -row.mean),
        cross_validated={name: round(_cross_validated(found), 4) for name, found in gains.items()},
    )


def _gain(legs: Legs, fusion: Fusion, weight: float) -> float:
    order = fuse(legs.again or legs.dense, legs.lexical, weight, fusion)
    ranking = dict.fromkeys(legs.documents[key] for key, _ in order)
    return ndcg(list(ranking), legs.judged, DEPTH)


def _cross_validated(found: Mapping[tuple[Fusion, float], Sequence[float]]) -> float:
    """The mean gain of questions under the way that was best on the other folds."""
    count = len(next(iter(found.values())))
    total = 0.0
    for fold in range(FOLDS):
        mine = range(fold, count, FOLDS)
        others = [number for number in range(count) if number % FOLDS != fold]
        best = max(found, key=lambda way: sum(found[way][number] for number in others))
        total += sum(found[best][number] for number in mine)
    return total / count
