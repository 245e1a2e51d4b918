"""Fit the gate's two models, choose its weight and share, and say honestly what it reaches: pure functions of arrays.

What a question gets is decided by a model that did not see it. The weight and the share are two numbers that are chosen
by such figures; `try_nested` says what is left where they are chosen without the question as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragsaver.components.rerank_gate import EVEN, Recent
from ragsaver.eval.recorded_rankings import Ranking

FOLDS = 5
WEIGHTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
STEP = 0.05  # between two shares of calls
# Towards zero, of each standardised coefficient: by cross-validation on Cranfield and SQuAD.
_PULL, _TAKING_PULL = 0.2, 0.05
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
    :ivar outcomes: (weights, questions, features), what is seen once the reranker has answered.
    :ivar sets: (questions,), the number of the data set.
    """

    seen: Floats
    never: Floats
    always: Floats
    moved: NDArray[np.bool_]
    outcomes: Floats
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
            np.array([[ranking.outcome(weight) for ranking in flat] for weight in WEIGHTS]),
            np.repeat(np.arange(len(recorded)), [len(rankings) for rankings in recorded]),
        )

    def only(self, which: NDArray[np.bool_]) -> "Judged":
        """Some of the questions."""
        return Judged(
            self.seen[which],
            self.never[which],
            self.always[:, which],
            self.moved[:, which],
            self.outcomes[:, which],
            self.sets[which],
        )

    def all_seen(self, weight: int) -> Floats:
        """(questions, features), what is seen before and after the reranker is asked."""
        return np.hstack([self.seen, self.outcomes[weight]])


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


def fit(seen: Floats, helped: NDArray[np.bool_], pull: float = _PULL, counts: Floats | None = None) -> Model:
    """Logistic regression with a ridge, by Newton's method (Hastie et al. 2009, section 4.4.1).

    :param seen: (questions, features).
    :param helped: (questions,), whether the other order was better.
    :param pull: of each standardised coefficient, towards zero.
    :param counts: (questions,), how much each counts; all alike if None.
    """
    shares = np.full(len(seen), 1 / len(seen)) if counts is None else counts / counts.sum()
    mean, scale = seen.mean(axis=0), seen.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    x = np.column_stack([(seen - mean) / scale, np.ones(len(seen))])
    pulls = np.full(x.shape[1], pull)
    pulls[-1] = 1e-6  # keeps it finite where nothing, or everything, helped
    found = np.zeros(x.shape[1])
    for _ in range(_ROUNDS):
        chance = 1 / (1 + np.exp(-np.clip(x @ found, -30, 30)))
        slope = x.T @ (shares * (chance - helped)) + pulls * found
        bend = (x * (shares * chance * (1 - chance))[:, None]).T @ x + np.diag(pulls)
        step = np.linalg.solve(bend, slope)
        found -= step
        if np.abs(step).max() < 1e-8:
            break
    return Model(mean, scale, found[:-1], float(found[-1]))


def fit_for(data: Judged, weight: int) -> Model:
    """The model of whether reranking with a weight helps."""
    return fit(data.seen, data.always[weight] > data.never + 1e-12)


def fit_taking(data: Judged, weight: int) -> Model:
    """The model of whether an order with a weight is better once it is known: each question counts by what it changes,
    and every data set alike.
    """
    gain = data.always[weight] - data.never
    changed = np.abs(gain) > 1e-12
    if not changed.any():
        count = data.all_seen(weight).shape[1]
        return Model(np.zeros(count), np.ones(count), np.zeros(count), 0.0)
    size, sets = np.abs(gain[changed]), data.sets[changed]
    counts = size / np.bincount(sets, size)[sets]
    return fit(data.all_seen(weight)[changed], gain[changed] > 0, _TAKING_PULL, counts)


def folds(sets: NDArray[np.int64], seed: int, count: int = FOLDS) -> NDArray[np.int64]:
    """A fold for each question, every data set spread evenly; the same each time."""
    order = np.random.default_rng(seed)
    found = np.zeros(len(sets), dtype=np.int64)
    for number in np.unique(sets):
        places = np.flatnonzero(sets == number)
        found[order.permutation(places)] = np.arange(len(places)) % count
    return found


class Decided(NamedTuple):
    """By models, all (questions,): the chance that reranking helps, and whether the new order is then taken."""

    chances: Floats
    takes: NDArray[np.bool_]

    @classmethod
    def by(cls, known: Judged, asked: Judged, weight: int) -> "Decided":
        """By models that are fitted on some questions, about others."""
        takes = fit_taking(known, weight).chances(asked.all_seen(weight)) > EVEN
        return cls(fit_for(known, weight).chances(asked.seen), takes)

    def gets(self, data: Judged, weight: int, called: NDArray[np.bool_]) -> Floats:
        """(questions,) nDCG@10 of what each gets.

        :param called: which are reranked.
        """
        return np.where(called & self.takes, data.always[weight], data.never)


def left_out(data: Judged, weight: int, seed: int) -> Decided:
    """What is decided about each question by models that did not see it."""
    fold = folds(data.sets, seed)
    found = Decided(np.zeros(len(data.sets)), np.zeros(len(data.sets), dtype=np.bool_))
    for number in range(FOLDS):
        mine = fold == number
        if mine.any():
            found.chances[mine], found.takes[mine] = Decided.by(data.only(~mine), data.only(mine), weight)
    return found


def choose(data: Judged, target: Target, seed: int, draws: int = _DRAWS) -> Choice:
    """The weight and share that reach the target best; every data set counts alike, and none has more calls.

    Of those with which the gate loses on no data set, against never reranking and against always doing so with the same
    weight, the ones with the best mean. If there are none: where the largest loss, against the best order that is the
    same for all questions of a data set (fused, or reranked with any weight), is smallest. If no share reaches
    `target.ndcg`, the one that comes nearest is taken.
    """
    shares = [STEP * n for n in range(1, round(target.calls / STEP) + 1)] or [target.calls]
    never, *always = (_means(one, data.sets) for one in (data.never, *data.always))
    best = np.max([never, *always], axis=0)
    tried: list[tuple[Choice, Floats]] = []
    for weight in range(len(data.always)):
        drawn = [left_out(data, weight, seed + draw) for draw in range(draws)]
        for share in shares:
            called = [_followed(one.chances, data.sets, share) for one in drawn]
            calls = _means(np.mean(called, axis=0), data.sets)
            if share > shares[0] and calls.max() > target.calls:
                break
            gated = [one.gets(data, weight, mine) for one, mine in zip(drawn, called, strict=True)]
            tried.append((Choice(weight, float(share)), _means(np.mean(gated, axis=0), data.sets)))

    def mean(one: tuple[Choice, Floats]) -> tuple[float, float]:
        return round(float(one[1].mean()), 6), -one[0].share

    if target.ndcg is not None:
        enough = [one for one in tried if one[1].mean() >= target.ndcg]
        return min(enough, key=lambda one: (one[0].share, -one[1].mean()))[0] if enough else max(tried, key=mean)[0]
    lossless = [one for one in tried if (one[1] >= np.maximum(never, always[one[0].weight])).all()]
    if lossless:
        return max(lossless, key=mean)[0]
    return max(tried, key=lambda one: (round(float((one[1] - best).min()), 6), *mean(one)))[0]


def quantiles(chances: Floats, sets: NDArray[np.int64]) -> tuple[float, ...]:
    """Evenly spaced quantiles of the chances; every data set counts alike."""
    places = np.linspace(0, 1, 101)
    balanced = np.concatenate([np.quantile(chances[sets == number], places) for number in np.unique(sets)])
    return tuple(float(round(chance, 6)) for chance in np.quantile(balanced, np.linspace(0, 1, _QUANTILES)))


@dataclass(frozen=True, slots=True)
class Tried:
    """What each question got from models that did not see it, means over several draws of folds, all (questions,).

    :ivar called: share of the draws in which it was reranked.
    :ivar skipped_moved: 1 where it was skipped in every draw and reranking would have put another passage first, and
        been taken.
    """

    gated: Floats
    called: Floats
    skipped_moved: Floats


def try_out(data: Judged, choice: Choice) -> Tried:
    """Decide each question by models that did not see it, in the order of its data set.

    The threshold follows the questions that came before, as it does in service. The weight and the share are given:
    two numbers that all questions helped to choose.
    """
    drawn = [left_out(data, choice.weight, draw) for draw in range(_DRAWS)]
    called = [_followed(one.chances, data.sets, choice.share) for one in drawn]
    gated = [one.gets(data, choice.weight, mine) for one, mine in zip(drawn, called, strict=True)]
    moved = ~np.any(called, axis=0) & data.moved[choice.weight] & (np.mean([one.takes for one in drawn], axis=0) > EVEN)
    return Tried(np.mean(gated, axis=0), np.mean(called, axis=0), moved.astype(np.float64))


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
        choice = choose(rest, target, seed=seed + _DRAWS, draws=1)
        decided = Decided.by(rest, mine, choice.weight)
        called = _followed(decided.chances, mine.sets, choice.share)
        gated = decided.gets(mine, choice.weight, called)
        found[:, fold == number] = gated, mine.always[choice.weight], called
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
