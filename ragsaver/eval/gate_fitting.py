"""Fit the gate's model, choose its weight and share, and say honestly what it reaches: pure functions of arrays.

What a question gets is decided by a model that did not see it. The weight and the share are two numbers that are chosen
by such figures; `try_nested` says what is left where they are chosen without the question as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragsaver.components.rerank_gate import Recent, threshold
from ragsaver.eval.recorded_rankings import Ranking

FOLDS = 5
WEIGHTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
STEP = 0.05  # between two shares of calls
_PULL = 0.2  # towards zero, of each standardised coefficient: by cross-validation on Cranfield and SQuAD
_ROUNDS = 50
_QUANTILES = 21
_DRAWS = 3  # of folds, so that a choice does not hang on one of them

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Target:
    """What tuning is to reach: the best order with at most `calls`, or the fewest calls for a mean `ndcg`."""

    calls: float = 0.4
    ndcg: float | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """Data sets one after the other, each question with its nDCG@10 in either order.

    :ivar seen: (questions, features).
    :ivar never: (questions,).
    :ivar always: (weights, questions).
    :ivar moved: (weights, questions), whether another passage comes first.
    :ivar sets: (questions,), the number of the data set.
    """

    seen: Floats
    never: Floats
    always: Floats
    moved: NDArray[np.bool_]
    sets: NDArray[np.int64]

    @classmethod
    def of(cls, recorded: Sequence[Sequence[Ranking]]) -> "Judged":
        """Compute both orders' figures for every weight."""
        flat = [ranking for rankings in recorded for ranking in rankings]
        return cls(
            np.array([ranking.seen for ranking in flat]),
            np.array([ranking.never() for ranking in flat]),
            np.array([[ranking.always(weight) for ranking in flat] for weight in WEIGHTS]),
            np.array([[ranking.moved(weight) for ranking in flat] for weight in WEIGHTS]),
            np.repeat(np.arange(len(recorded)), [len(rankings) for rankings in recorded]),
        )

    def only(self, which: NDArray[np.bool_]) -> "Judged":
        """Some of the questions."""
        return Judged(
            self.seen[which], self.never[which], self.always[:, which], self.moved[:, which], self.sets[which]
        )


@dataclass(frozen=True, slots=True)
class Model:
    """A logistic model of standardised features."""

    mean: Floats
    scale: Floats
    weights: Floats
    intercept: float

    def chances(self, seen: Floats) -> Floats:
        """(questions,), 0 to 1."""
        total = (seen - self.mean) / self.scale @ self.weights + self.intercept
        return np.asarray(1 / (1 + np.exp(-np.clip(total, -500, 500))))


@dataclass(frozen=True, slots=True)
class Choice:
    """A weight, by its place in `WEIGHTS`, and a share of calls."""

    weight: int
    share: float


def fit(seen: Floats, helped: NDArray[np.bool_], pull: float = _PULL) -> Model:
    """Logistic regression with a ridge, by Newton's method (Hastie et al. 2009, section 4.4.1).

    :param seen: (questions, features).
    :param helped: (questions,), whether the other order was better.
    :param pull: of each standardised coefficient, towards zero.
    """
    mean, scale = seen.mean(axis=0), seen.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    x = np.column_stack([(seen - mean) / scale, np.ones(len(seen))])
    pulls = np.full(x.shape[1], pull)
    pulls[-1] = 1e-6  # keeps it finite where nothing, or everything, helped
    found = np.zeros(x.shape[1])
    for _ in range(_ROUNDS):
        chance = 1 / (1 + np.exp(-np.clip(x @ found, -30, 30)))
        slope = x.T @ (chance - helped) / len(x) + pulls * found
        bend = (x * (chance * (1 - chance))[:, None]).T @ x / len(x) + np.diag(pulls)
        step = np.linalg.solve(bend, slope)
        found -= step
        if np.abs(step).max() < 1e-8:
            break
    return Model(mean, scale, found[:-1], float(found[-1]))


def fit_for(data: Judged, weight: int) -> Model:
    """The model of whether reranking with a weight helps."""
    return fit(data.seen, data.always[weight] > data.never + 1e-12)


def folds(sets: NDArray[np.int64], seed: int, count: int = FOLDS) -> NDArray[np.int64]:
    """A fold for each question, every data set spread evenly; the same each time."""
    order = np.random.default_rng(seed)
    found = np.zeros(len(sets), dtype=np.int64)
    for number in np.unique(sets):
        places = np.flatnonzero(sets == number)
        found[order.permutation(places)] = np.arange(len(places)) % count
    return found


def left_out(data: Judged, weight: int, seed: int) -> Floats:
    """The chance of each question by a model that did not see it."""
    fold = folds(data.sets, seed)
    found = np.zeros(len(data.sets))
    for number in range(FOLDS):
        mine = fold == number
        if mine.any():
            found[mine] = fit_for(data.only(~mine), weight).chances(data.seen[mine])
    return found


def taken(chances: Floats, sets: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Those whose chance is among the highest of their data set."""
    found = np.zeros(len(chances), dtype=bool)
    for number in np.unique(sets):
        mine = sets == number
        found[mine] = chances[mine] > threshold(chances[mine].tolist(), share)
    return found


def choose(data: Judged, target: Target, seed: int) -> Choice:
    """The weight and share that reach the target best; every data set counts alike.

    Of those with which the gate loses on no data set, against never reranking and against always doing so with the same
    weight, the ones with the best mean; if there are none, those whose largest loss is smallest. If no share reaches
    `target.ndcg`, the one that comes nearest is taken.
    """
    shares = np.array([STEP * n for n in range(1, round(target.calls / STEP) + 1)] or [target.calls])
    never = _means(data.never, data.sets)
    reached: list[tuple[float, float, Choice]] = []
    for weight, always in enumerate(data.always):
        drawn = [left_out(data, weight, seed + draw) for draw in range(_DRAWS)]
        fixed = np.maximum(never, _means(always, data.sets))
        for share in shares:
            gated = np.mean(
                [_means(np.where(taken(one, data.sets, share), always, data.never), data.sets) for one in drawn], axis=0
            )
            reached.append((float((gated - fixed).min()), float(gated.mean()), Choice(weight, float(share))))
    if target.ndcg is not None:
        enough = [(choice.share, -mean, choice) for _, mean, choice in reached if mean >= target.ndcg]
        if enough:
            return min(enough, key=lambda one: one[:2])[2]
        return max(reached, key=lambda one: (one[1], -one[2].share))[2]
    return max(reached, key=lambda one: (round(min(one[0], 0.0), 6), round(one[1], 6), -one[2].share))[2]


def quantiles(chances: Floats, sets: NDArray[np.int64]) -> tuple[float, ...]:
    """Evenly spaced quantiles of the chances; every data set counts alike."""
    places = np.linspace(0, 1, 101)
    balanced = np.concatenate([np.quantile(chances[sets == number], places) for number in np.unique(sets)])
    return tuple(float(round(chance, 6)) for chance in np.quantile(balanced, np.linspace(0, 1, _QUANTILES)))


@dataclass(frozen=True, slots=True)
class Tried:
    """What each question got from models that did not see it, means over several draws of folds, all (questions,).

    :ivar called: share of the draws in which it was reranked.
    :ivar skipped_moved: 1 where it was skipped in every draw and reranking would have put another passage first.
    """

    gated: Floats
    called: Floats
    skipped_moved: Floats


def try_out(data: Judged, choice: Choice) -> Tried:
    """Decide each question by a model that did not see it, in the order of its data set.

    The threshold follows the questions that came before, as it does in service. The weight and the share are given:
    two numbers that all questions helped to choose.
    """
    always = data.always[choice.weight]
    called = np.mean(
        [_followed(left_out(data, choice.weight, draw), data.sets, choice.share) for draw in range(_DRAWS)], axis=0
    )
    moved = (called == 0) & data.moved[choice.weight]
    return Tried(called * always + (1 - called) * data.never, called, moved.astype(np.float64))


@dataclass(frozen=True, slots=True)
class Nested:
    """The same with a weight and a share that were chosen without the question, too, all (questions,).

    :ivar gated: nDCG@10.
    :ivar always: nDCG@10 if it is reranked with the weight chosen so.
    :ivar called: share of the draws in which it was reranked.
    """

    gated: Floats
    always: Floats
    called: Floats


def try_nested(data: Judged, target: Target) -> Nested:
    """Leave each question out of choosing a weight and a share as well: each fold of each draw has its own."""
    drawn = [_nested(data, target, _DRAWS + draw) for draw in range(_DRAWS)]
    return Nested(*np.mean(drawn, axis=0))


def _nested(data: Judged, target: Target, seed: int) -> Floats:
    """(gated, always, called; questions)."""
    fold = folds(data.sets, seed)
    found = np.zeros((3, len(data.sets)))
    for number in range(FOLDS):
        mine, rest = data.only(fold == number), data.only(fold != number)
        choice = choose(rest, target, seed=seed + _DRAWS)
        called = _followed(fit_for(rest, choice.weight).chances(mine.seen), mine.sets, choice.share)
        always = mine.always[choice.weight]
        found[:, fold == number] = np.where(called, always, mine.never), always, called
    return found


def _followed(chances: Floats, sets: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """What is reranked, one question after the other, by the threshold of the moment."""
    recent = Recent(quantiles(chances, sets))
    above = (
        chance > recent.threshold(("", str(number)), float(chance), share)
        for chance, number in zip(chances, sets, strict=True)
    )
    return np.fromiter(above, dtype=np.bool_, count=len(chances))


def _means(values: Floats, sets: NDArray[np.int64]) -> Floats:
    """Of each data set."""
    return np.array([values[sets == number].mean() for number in np.unique(sets)])
