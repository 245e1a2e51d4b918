"""Tune the gate of a reranker on judged questions: record both orders, fit, say what it reaches, write its file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from ragsaver.components.rerank_features import NAMES
from ragsaver.components.rerank_gate import Coefficient, Gate, Taking
from ragsaver.components.rerank_outcome import NAMES as OUTCOME_NAMES
from ragsaver.errors import UsageError
from ragsaver.eval.dataset import judged_queries, load_dataset, names_of
from ragsaver.eval.gate_fitting import (
    FOLDS,
    WEIGHTS,
    Judged,
    Model,
    Target,
    choose,
    fit_for,
    fit_taking,
    left_out,
    quantiles,
    try_nested,
    try_out,
)
from ragsaver.eval.recorded_rankings import record
from ragsaver.settings import Settings

_FEWEST = 10 * FOLDS  # questions


class Reached(BaseModel):
    """nDCG@10 on one data set; `calls` is the share of questions that were reranked.

    `always` mixes the fused order with the reranked one as the gate does, `reranker_alone` does not. `gated` is
    cross-validated: no model decided about a question that it was fitted on. For what ends in `_nested` the weight and
    the share were chosen without the question, too. `ceiling` takes the better order of never and always for each
    question.
    """

    queries: int
    never: float
    always: float
    reranker_alone: float
    gated: float
    calls: float
    gated_nested: float
    always_nested: float
    calls_nested: float
    ceiling: float


class TuningReport(BaseModel):
    """What was tuned, and what it reaches."""

    reranker: str
    weight: float
    share: float
    datasets: dict[str, Reached]
    file: str | None = None


def read_target(text: str) -> Target:
    """`calls=0.4` or `ndcg=0.75`.

    :raises UsageError: if it is neither.
    """
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if name in ("calls", "ndcg") and 0 < value <= 1:
        return Target(calls=value) if name == "calls" else Target(calls=1.0, ndcg=value)
    raise UsageError(f"`{text}` is no target", where="--target", remedy="Say calls=0.4, or ndcg=0.75")


def tune_gate(
    folders: Sequence[Path], settings: Settings, target: Target, progress: Callable[[str, int, int], None]
) -> tuple[Gate, TuningReport]:
    """Tune on data sets, each counting alike.

    :param progress: called with a data set's name, its questions done and all of them.
    :raises UsageError: if a data set is wrong, or there are too few questions to learn from.
    """
    names = names_of(folders)
    for folder in folders:  # before a reranker is paid for the first of them
        _require_enough(len(judged_queries(load_dataset(folder), folder)), folder)
    recorded = []
    reranker = ""
    for folder, name in zip(folders, names, strict=True):
        reranker, rankings = record(folder, settings, lambda done, of, name=name: progress(name, done, of))  # type: ignore[misc]
        _require_enough(len(rankings), folder)
        recorded.append(rankings)
    data = Judged.of(recorded)
    choice = choose(data, target, seed=0)
    tried, nested, always = try_out(data, choice), try_nested(data, target), data.always[choice.weight]
    reached = {}
    for number, name in enumerate(names):
        mine = data.sets == number
        reached[name] = Reached(
            queries=int(mine.sum()),
            never=_mean(data.never[mine]),
            always=_mean(always[mine]),
            reranker_alone=_mean(data.always[WEIGHTS.index(1.0)][mine]),
            gated=_mean(tried.gated[mine]),
            calls=_mean(tried.called[mine]),
            gated_nested=_mean(nested.gated[mine]),
            always_nested=_mean(nested.always[mine]),
            calls_nested=_mean(nested.called[mine]),
            ceiling=_mean(np.maximum(data.never, always)[mine]),
        )
    model, taking = fit_for(data, choice.weight), fit_taking(data, choice.weight)
    skipped_moved = max(_mean(tried.skipped_moved[(data.sets == n) & (tried.called == 0)]) for n in range(len(names)))
    gate = Gate(
        reranker=reranker,
        weight=WEIGHTS[choice.weight],
        top_n=settings.rerank.top_n,
        share=round(choice.share, 4),
        max_share=round(choice.share if target.ndcg else max(choice.share, target.calls), 4),
        skipped_moved=skipped_moved,
        intercept=_short(model.intercept),
        coefficients=_coefficients(NAMES, model),
        chances=quantiles(left_out(data, choice.weight, seed=0).chances, data.sets),
        taking=Taking(intercept=_short(taking.intercept), coefficients=_coefficients((*NAMES, *OUTCOME_NAMES), taking)),
        tuned_on={name: one.model_dump() for name, one in reached.items()},
    )
    report = TuningReport(reranker=reranker, weight=gate.weight, share=gate.share, datasets=reached)
    return gate, report


def _require_enough(questions: int, folder: Path) -> None:
    if questions < _FEWEST:
        raise UsageError(
            f"a data set has fewer than {_FEWEST} judged questions",
            where=str(folder),
            remedy="Judge more, or tune on larger ones",
        )


def _coefficients(names: Sequence[str], model: Model) -> dict[str, Coefficient]:
    return {
        name: Coefficient(mean=_short(mean), scale=_short(scale), weight=_short(weight))
        for name, mean, scale, weight in zip(names, model.mean, model.scale, model.weights, strict=True)
    }


def _short(number: float) -> float:
    return float(f"{number:.6g}")


def _mean(values: NDArray[Any]) -> float:
    return round(float(values.mean()), 4) if len(values) else 0.0
