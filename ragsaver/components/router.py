"""Which model is asked first: the cheapest, or the strongest at once? By recorded outcomes, or by rules without any."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragsaver.components.request import Quality
from ragsaver.components.route_features import FOUND, SHAPE
from ragsaver.components.router_model import RouterModel, Step, load_router
from ragsaver.models.protocol import Encoder
from ragsaver.settings import GenerationSettings

# Signs of a hard question from which the strongest model is asked at once.
SIGNS: Mapping[Quality, int] = {"minimum": 4, "balanced": 2, "maximum": 1}
_MORE_SIGNS = 4  # that are needed when budgets let hardly a question go there
_LONG = np.log1p(60)  # words
_MANY = np.log1p(3)  # numbers, turns


@dataclass(frozen=True, slots=True)
class Question:
    """What a router may look at.

    :ivar shape: a number for each of `SHAPE`.
    :ivar found: a number for each of `FOUND`.
    :ivar vector: gives the question's embedding, (dim,) float32.
    :ivar wish: of the asker.
    :ivar strong: factor, 0 to 1, of the share of questions that budgets let go to the strongest model.
    """

    shape: tuple[float, ...]
    found: tuple[float, ...]
    vector: Callable[[], NDArray[np.float32]]
    wish: Quality = "balanced"
    strong: float = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the strongest model is asked at once, and why, in words."""

    strong: bool
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
        return Verdict(False, "the cheapest model is tried first")


class Rules:
    """Counts signs of a hard question: a start for who has no recorded outcomes. Nothing of it was measured."""

    def judge(self, question: Question) -> Verdict:
        """Decide."""
        signs = hard_signs(question)
        needed = SIGNS[question.wish] + math.ceil(_MORE_SIGNS * (1 - question.strong))
        strong = len(signs) >= needed and question.strong > 0
        seen = ", ".join(signs) or "none"
        told = f"by rule, {len(signs)} of {needed} signs of a hard question: {seen}"
        return Verdict(strong, told if question.wish == "balanced" else f"{told} (quality {question.wish})")


class Trained:
    """Decides by recorded outcomes.

    :param target: the point of its curve that questions are routed by.
    """

    def __init__(self, model: RouterModel, target: Step) -> None:
        self._model = model
        best = max(model.curve, key=lambda step: (step.quality, -step.calls))
        self._steps: Mapping[Quality, Step] = {
            "minimum": model.step_at(target.calls / 2),
            "balanced": target,
            "maximum": best if best.calls > target.calls else target,
        }

    def judge(self, question: Question) -> Verdict:
        """Decide."""
        counted = question.shape + question.found if self._model.counted == SHAPE + FOUND else question.shape
        chance, gain = self._model.judge(question.vector(), counted)
        step = self._model.less_of(self._steps[question.wish], question.strong)
        strong = gain > step.above and question.strong > 0
        told = (
            f"the cheapest model is right with a chance of {chance:.2f}, the strongest gains {gain:+.2f}: "
            f"{'above' if strong else 'not above'} {step.above:+.2f} ({step.calls:.0%} of such questions)"
        )
        return Verdict(strong, told if question.wish == "balanced" else f"{told}, quality {question.wish}")


def hard_signs(question: Question) -> list[str]:
    """What makes a question look hard, in words."""
    shape = dict(zip(SHAPE, question.shape, strict=True))
    found = dict(zip(FOUND, question.found, strict=True))
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

    :raises SettingsError: if it is a file that is no router, or one of another embedding model.
    """
    if len(settings.models) < 2 or settings.router == "never":
        return Cheapest()
    if settings.router == "rules":
        return Rules()
    model = load_router(Path(settings.router), encoder=encoder.fingerprint)
    return Trained(model, model.step_for(settings.router_min_quality, settings.router_max_calls))
