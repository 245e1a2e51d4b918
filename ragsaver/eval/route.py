"""What would a router of these recorded outcomes reach, and the router itself: embed, fit, measure, write."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from ragsaver.components.route_features import FOUND, SHAPE, question_shape
from ragsaver.components.router_model import VERSION, RouterModel, Weights, losses_of, pack
from ragsaver.errors import UsageError
from ragsaver.eval.route_fitting import (
    Seen,
    calibrate,
    calibration_errors,
    curve,
    fit,
    folds,
    left_out,
    recovered_by_spending,
    whole_groups,
)
from ragsaver.eval.route_outcomes import Floats, Outcomes, apgr, area, calls_for, read_outcomes, recovered
from ragsaver.eval.route_signs import as_looked_for, signs_found
from ragsaver.models.protocol import Encoder
from ragsaver.models.registry import load_encoder
from ragsaver.settings import Settings

FOLDS = 5
_TIMED = 500  # decisions
_BATCH = 512  # questions between two words of progress

Progress = Callable[[int, int], None]


class RouteReport(BaseModel):
    """What routers reach on questions that they have not seen.

    Of more than two models, what is spent between the cheapest alone and the strongest alone is the share of strong
    calls.

    :ivar apgr: average performance gap recovered; 0.5 is chance.
    :ivar cpt50: share of strong calls that recovers half of the gap.
    :ivar cpt80: share of strong calls that recovers four fifths of it.
    :ivar router_ms: median time of one decision, the embedding not counted.
    :ivar apgr_area: the area under the whole curve, as RouteLLM's script has it.
    :ivar apgr_new_groups: `apgr` where every group is left out whole; None if there are fewer groups than folds.
    :ivar right: share of right answers, model by model.
    :ivar calibration_error: of each model but the last: how far the chance that it will do is from how often it does.
    """

    apgr: float
    cpt50: float
    cpt80: float
    router_ms: float
    router_ms_p95: float
    apgr_area: float
    apgr_new_groups: float | None
    questions: int
    weak: float
    strong: float
    right: list[float]
    calibration_error: list[float]


class TrainingReport(BaseModel):
    """What was written, and what it is to reach: figures by cross-validation.

    :ivar calls: share of questions that go to the strongest model.
    :ivar shares: of the questions, model by model.
    :ivar cost: what is spent, over what the strongest alone costs; None where no costs were recorded.
    """

    file: str
    questions: int
    apgr: float
    calls: float
    quality: float
    shares: list[float]
    cost: float | None


def evaluate_route(
    file: Path, settings: Settings, count: int, progress: Progress, *, search: bool = False
) -> RouteReport:
    """Cross-validate routers on recorded outcomes, every group spread evenly over the folds.

    :param count: of folds.
    :param progress: called with the questions looked at and all of them.
    :param search: whether what the project's index finds for them is learned from.
    :raises UsageError: if the file is wrong.
    """
    outcomes = _recorded(file, settings, "ragsaver eval route", progress, search)
    if not 2 <= count <= len(outcomes.queries) // 10:
        raise UsageError(f"must be 2 to {len(outcomes.queries) // 10}, got {count}", where="--folds")
    encoder = load_encoder(settings.embedding)
    seen = look(outcomes, encoder, progress)
    unseen = left_out(seen, outcomes, folds(outcomes.groups, count))
    calibrations = calibrate(unseen, outcomes.ok)
    losses = losses_of(unseen, calibrations)
    spread = _curve(unseen, calibrations, outcomes)
    new_groups = None
    if len(np.unique(outcomes.groups)) >= count:
        apart = left_out(seen, outcomes, whole_groups(outcomes.groups, count))
        new_groups = _curve(apart, calibrate(apart, outcomes.ok), outcomes)
    model = _model(fit(seen, outcomes.ok), encoder, seen, calibrations, outcomes, unseen)
    spent_ms = _timed(model, seen, outcomes)
    return RouteReport(
        apgr=round(apgr(spread), 4),
        cpt50=round(calls_for(spread, 0.5), 4),
        cpt80=round(calls_for(spread, 0.8), 4),
        router_ms=round(float(np.median(spent_ms)), 4),
        router_ms_p95=round(float(np.quantile(spent_ms, 0.95)), 4),
        apgr_area=round(area(spread), 4),
        apgr_new_groups=None if new_groups is None else round(apgr(new_groups), 4),
        questions=len(outcomes.queries),
        weak=round(float(outcomes.weak.mean()), 4),
        strong=round(float(outcomes.strong.mean()), 4),
        right=[round(share, 4) for share in outcomes.ok.mean(axis=0).tolist()],
        calibration_error=[round(error, 4) for error in calibration_errors(losses, outcomes.ok)],
    )


def train_route(
    file: Path,
    settings: Settings,
    progress: Progress,
    *,
    min_quality: float | None = None,
    max_calls: float | None = None,
    max_cost: float | None = None,
    search: bool = False,
) -> tuple[RouterModel, TrainingReport]:
    """Train a router on all recorded outcomes; what it reaches is told by cross-validation.

    :param min_quality: share of the strongest model's right answers to keep; 0.95 if the other targets are None too.
    :param max_calls: share of questions that may go to the strongest model.
    :param max_cost: what may be spent, as a share of what the strongest model alone costs.
    :param search: whether what the project's index finds for them is learned from.
    :raises UsageError: if the file is wrong, or says no costs where they are bounded.
    """
    outcomes = _recorded(file, settings, "ragsaver route train", progress, search)
    if max_cost is not None and not outcomes.usd.size:
        raise UsageError(
            "not every row has `cost_usd`",
            where="--target",
            remedy="Write it into each, or say quality=0.95 or calls=0.3",
        )
    encoder = load_encoder(settings.embedding)
    seen = look(outcomes, encoder, progress)
    if (min_quality, max_calls, max_cost) == (None, None, None):
        min_quality = 0.95
    target = {"min_quality": min_quality, "max_calls": max_calls, "max_cost": max_cost}
    model = trained(outcomes, seen, encoder).model_copy(update=target)
    step = model.step_for(None, None)
    report = TrainingReport(
        file="",
        questions=len(outcomes.queries),
        apgr=model.trained_on["apgr"],
        calls=step.calls,
        quality=round(step.quality, 4),
        shares=list(step.by_tier),
        cost=None if step.cost is None else round(step.cost, 4),
    )
    return model, report


def trained(outcomes: Outcomes, seen: Seen, encoder: Encoder) -> RouterModel:
    """A router of all outcomes, whose calibration and curve are those of routers that did not see them."""
    unseen = left_out(seen, outcomes, folds(outcomes.groups, FOLDS))
    return _model(fit(seen, outcomes.ok), encoder, seen, calibrate(unseen, outcomes.ok), outcomes, unseen)


def look(outcomes: Outcomes, encoder: Encoder, progress: Progress) -> Seen:
    """Embed and count."""
    queries, total = outcomes.queries, len(outcomes.queries)
    vectors = np.zeros((total, encoder.dim))
    for start in range(0, total, _BATCH):
        vectors[start : start + _BATCH] = encoder.encode(queries[start : start + _BATCH], query=True)
        progress(min(start + _BATCH, total), total)
    shapes = np.array([question_shape(query) for query in queries])
    return Seen(vectors, np.hstack([shapes, outcomes.found]))


def _recorded(file: Path, settings: Settings, role: str, progress: Progress, search: bool) -> Outcomes:
    outcomes = read_outcomes(file)
    if search:
        outcomes = replace(outcomes, found=signs_found(settings, outcomes, role, progress))
    return replace(outcomes, queries=as_looked_for(outcomes, settings.generation.follow_ups))


def _curve(unseen: Floats, calibrations: tuple[tuple[float, float], ...], outcomes: Outcomes) -> Floats:
    if outcomes.tiers == 2:
        return recovered(unseen[:, 1] - unseen[:, 0], outcomes.gain)
    return recovered_by_spending(curve(losses_of(unseen, calibrations), outcomes), outcomes)


def _model(
    weights: Weights,
    encoder: Encoder,
    seen: Seen,
    calibrations: tuple[tuple[float, float], ...],
    outcomes: Outcomes,
    unseen: Floats,
) -> RouterModel:
    """A router as its file has it.

    :param unseen: (questions, tiers) by routers that did not see them, for its curve.
    """
    by_share = _curve(unseen, calibrations, outcomes)
    return RouterModel(
        version=VERSION,
        encoder=encoder.fingerprint,
        encoder_name=encoder.name,
        dim=seen.vectors.shape[1],
        counted=SHAPE + FOUND if outcomes.found.shape[1] else SHAPE,
        mean=pack(weights.mean),
        scale=pack(weights.scale),
        centres=pack(weights.centres),
        spread=pack(weights.spread),
        slopes=pack(weights.slopes),
        level=pack(weights.level),
        tiers=outcomes.tiers,
        calibrations=calibrations,
        curve=curve(losses_of(unseen, calibrations), outcomes),
        trained_on={
            "questions": len(outcomes.queries),
            "weak": round(float(outcomes.weak.mean()), 4),
            "strong": round(float(outcomes.strong.mean()), 4),
            "apgr": round(apgr(by_share), 4),
            "cpt50": round(calls_for(by_share, 0.5), 4),
            "cpt80": round(calls_for(by_share, 0.8), 4),
        },
    )


def _timed(model: RouterModel, seen: Seen, outcomes: Outcomes) -> NDArray[np.float64]:
    """(decisions,) milliseconds, from the question's text and its embedding to the two numbers."""
    vectors = seen.vectors.astype(np.float32)
    spent = []
    for place in np.linspace(0, len(vectors) - 1, min(_TIMED, len(vectors))).astype(int):
        found = outcomes.found[place].tolist()
        started = time.perf_counter()
        model.judge(vectors[place], (*question_shape(outcomes.queries[place]), *found))
        spent.append((time.perf_counter() - started) * 1000)
    return np.array(spent)
