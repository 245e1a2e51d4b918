"""Which model is asked first: the cheapest, or a dearer one at once? By recorded outcomes, or by rules without any."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragsaver.components.request import Quality
from ragsaver.components.route_features import FOUND, SHAPE
from ragsaver.components.router_curve import Curve, Step, places_of
from ragsaver.components.router_model import Judged, RouterModel, load_router
from ragsaver.errors import SettingsError
from ragsaver.models.protocol import Encoder
from ragsaver.settings import GenerationSettings

# Signs of a hard question from which the strongest model is asked at once; who wishes the maximum needs one where
# budgets press, and none otherwise.
SIGNS: Mapping[Quality, int] = {"minimum": 4, "balanced": 2, "maximum": 1}
_WISHED = "the strongest model is asked first (quality maximum)"
_MORE_SIGNS = 4  # that are needed when budgets let hardly a question go there
_LONG = np.log1p(60)  # words
_MANY = np.log1p(3)  # numbers, turns


@dataclass(frozen=True, slots=True)
class Question:
    """What a router may look at; what it does not look at is not made.

    :ivar shape: gives a number for each of `SHAPE`.
    :ivar found: gives a number for each of `FOUND`.
    :ivar vector: gives the question's embedding, (dim,) float32.
    :ivar wish: of the asker.
    :ivar strong: factor, 0 to 1, of what budgets let be spent on dearer models than the cheapest.
    """

    shape: Callable[[], tuple[float, ...]]
    found: Callable[[], tuple[float, ...]]
    vector: Callable[[], NDArray[np.float32]]
    wish: Quality = "balanced"
    strong: float = 1.0

    @property
    def wants_strongest(self) -> bool:
        """Whether the best is wished, and budgets let all of it be spent."""
        return self.wish == "maximum" and self.strong >= 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """The place of the tier that is asked first, from 0, and why, in words."""

    place: int
    reason: str


class Router(Protocol):
    """Decides where a question begins."""

    def judge(self, question: Question) -> Verdict:
        """Decide."""
        ...


class Cheapest:
    """Every question begins with the cheapest model."""

    def judge(self, question: Question) -> Verdict:
        """Decide."""
        return Verdict(0, "the cheapest model is tried first")


class Rules:
    """Counts signs of a hard question: a start for who has no recorded outcomes. Nothing of it was measured.

    With fewer signs than the strongest model needs, a question begins as far up the row as that part of them. Who
    wishes the maximum gets the strongest at once, unless budgets press.

    :param names: of the tiers, cheapest first.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def judge(self, question: Question) -> Verdict:
        """Decide."""
        signs, last = hard_signs(question), len(self._names) - 1
        if question.wants_strongest:
            return Verdict(last, _WISHED)
        needed = SIGNS[question.wish] + math.ceil(_MORE_SIGNS * (1 - question.strong))
        place = min(len(signs) * last // needed, last) if question.strong > 0 else 0
        seen = ", ".join(signs) or "none"
        told = f"by rule, {len(signs)} of {needed} signs of a hard question: {seen}"
        if last > 1:
            told += f"; so {self._names[place]}"
        return Verdict(place, told if question.wish == "balanced" else f"{told} (quality {question.wish})")


class Trained:
    """Decides by recorded outcomes. Who wishes the maximum gets the strongest at once, or by the curve where budgets
    press: as much of what that spends as they let.

    :param target: the point of its curve that questions are routed by.
    :param names: of the tiers, cheapest first. A router of two models decides between the first and the last.
    """

    def __init__(self, model: RouterModel, target: Step, names: Sequence[str]) -> None:
        self._model, self._curve = model, Curve(model.curve)
        self._places = (0, len(names) - 1) if model.tiers == 2 else tuple(range(len(names)))
        self._names = [names[place] for place in self._places]
        self._steps: Mapping[Quality, Step] = {
            "minimum": self._curve.nearest(target, 0.5),
            "balanced": target,
            "maximum": model.curve[-1],
        }

    def judge(self, question: Question) -> Verdict:
        """Decide."""
        if question.wants_strongest:
            return Verdict(self._places[-1], _WISHED)
        counted = question.shape()
        if self._model.counted == SHAPE + FOUND:
            counted += question.found()
        judged = self._model.judge(question.vector(), counted)
        step = self._curve.part_of(self._steps[question.wish], question.strong)
        chosen = int(places_of(np.array([judged.losses]), step.above)[0]) if question.strong > 0 else 0
        told = self._told(judged, step, chosen)
        place = self._places[chosen]
        return Verdict(place, told if question.wish == "balanced" else f"{told}, quality {question.wish}")

    def _told(self, judged: Judged, step: Step, chosen: int) -> str:
        if self._model.calibration is not None:
            ((chance,), (gain,)) = judged.chances, judged.losses
            return (
                f"the cheapest model is right with a chance of {chance:.2f}, the strongest gains {gain:+.2f}: "
                f"{'above' if chosen else 'not above'} {step.above:+.2f} ({step.calls:.0%} of such questions)"
            )
        chances = ", ".join(f"{name} {chance:.2f}" for name, chance in zip(self._names, judged.chances, strict=False))
        needed, share = min(1 - step.above, 1.0), step.by_tier[chosen]
        return (
            f"the chance that a model will do: {chances}; {needed:.2f} is needed, so {self._names[chosen]} "
            f"(as {share:.0%} of such questions)"
        )


def hard_signs(question: Question) -> list[str]:
    """What makes a question look hard, in words."""
    shape = dict(zip(SHAPE, question.shape(), strict=True))
    found = dict(zip(FOUND, question.found(), strict=True))
    signs = {
        "it is long": shape["words"] > _LONG,
        "it computes or proves": shape["asks_to_compute"] > 0,
        "it asks why": shape["asks_why"] > 0,
        "it compares": shape["comparison"] > 0,
        "it supposes something": shape["conditional"] > 0,
        "it holds many numbers": shape["numbers"] > _MANY,
        "it holds formulas": shape["math_signs"] > 0.02,
        "it holds code": shape["code_signs"] > 0,
        "it follows a long conversation": found["past_turns"] > _MANY,
    }
    return [sign for sign, there in signs.items() if there]


def open_router(settings: GenerationSettings, encoder: Encoder) -> Router:
    """The router that the settings name.

    :raises SettingsError: if it is a file that is no router, one of another embedding model or of another number of
        models, or if costs are bounded that it does not know.
    """
    names = settings.tier_names
    if len(names) < 2 or settings.router == "never":
        return Cheapest()
    if settings.router == "rules":
        return Rules(names)
    model = load_router(Path(settings.router), encoder=encoder.fingerprint)
    if model.tiers not in (2, len(names)):
        raise SettingsError(
            f"was trained on the outcomes of {model.tiers} models, and {len(names)} are configured",
            where=settings.router,
            remedy="Train it on those of `generation.models`, in their order",
        )
    if settings.router_max_cost is not None and model.curve[0].cost is None:
        raise SettingsError(
            "the router was trained on outcomes without `cost_usd`",
            where="generation.router_max_cost",
            remedy="Train it on rows that say what each answer cost, or bound `generation.router_max_calls`",
        )
    target = model.step_for(settings.router_min_quality, settings.router_max_calls, settings.router_max_cost)
    return Trained(model, target, names)
