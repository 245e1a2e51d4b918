"""Will a cheaper model do? A small linear model of recorded outcomes, in one JSON file that the settings name.

It sees the question's embedding as it is, how near that is to each of some centres (so that it can tell one kind of
question from another, which a straight line can't), and what `route_features` counts. From these it gives a number for
each model: how likely it is right. What the last one has more is turned into the chance that a cheaper one will do:
that it is right if the last one is.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ragsaver.components.route_features import FOUND, SHAPE
from ragsaver.components.router_curve import Step, cheapest_for
from ragsaver.errors import SettingsError

VERSION: Literal[2] = 2
SHARPNESS = 20.0  # of the nearness to a centre: how fast it falls with the cosine
COUNTED = 0.1  # standard deviation of a counted feature and of a nearness, beside the embedding's length of 1

_REMEDY = "Write it with `ragsaver route train --data FILE --out MODEL`"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Weights:
    """The model's arrays.

    :ivar mean: (counted,) of the counted features.
    :ivar scale: (counted,) their standard deviations.
    :ivar centres: (centres, dim), L2-normalised.
    :ivar spread: (centres,) standard deviation of the nearness to each.
    :ivar slopes: (dim + counted + centres, tiers), the cheapest model first.
    :ivar level: (tiers,)
    """

    mean: Floats
    scale: Floats
    centres: Floats
    spread: Floats
    slopes: Floats
    level: Floats

    def seen(self, vectors: Floats, counted: Floats) -> Floats:
        """(questions, dim + counted + centres) what the slopes are for.

        :param vectors: (questions, dim), L2-normalised.
        :param counted: (questions, counted).
        """
        return np.hstack(
            [
                vectors,
                COUNTED * (counted - self.mean) / self.scale,
                COUNTED * nearness(vectors, self.centres) / self.spread,
            ]
        )

    def chances(self, vectors: Floats, counted: Floats) -> Floats:
        """(questions, tiers) how right each model is, on a scale of about 0 to 1."""
        return np.asarray(self.seen(vectors, counted) @ self.slopes + self.level)


def nearness(vectors: Floats, centres: Floats) -> Floats:
    """(questions, centres) soft membership; each row adds up to 1."""
    raw = np.exp(SHARPNESS * (vectors @ centres.T - 1.0))
    return np.asarray(raw / raw.sum(axis=1, keepdims=True))


@dataclass(frozen=True, slots=True)
class Judged:
    """What is expected of each tier but the last, cheapest first.

    :ivar chances: that it will do; in a router of version 1, that it is right.
    :ivar losses: what thresholds are of: 1 - chance; in version 1, what the strong model gains.
    """

    chances: tuple[float, ...]
    losses: tuple[float, ...]


class RouterModel(BaseModel):
    """A trained router, as its file has it. Arrays are little-endian float32 in base64.

    :ivar encoder: fingerprint of the embedding model that it was trained with.
    :ivar encoder_name: the same, for people.
    :ivar counted: names of the counted features.
    :ivar tiers: how many models it decides among.
    :ivar calibration: of version 1: slope and level of the logistic curve from the weak model's number to its chance.
    :ivar calibrations: of each tier but the last: slope and level of the logistic curve from what the last one's number
        is above its own, to the chance that it is wrong where the last one is right.
    :ivar curve: from no calls of the models above the cheapest to the strongest alone.
    :ivar min_quality: the target that it was trained for, if it was a quality.
    :ivar max_calls: the same, if it was a share of calls of the strongest model.
    :ivar max_cost: the same, if it was a share of what the strongest model alone costs.
    :ivar trained_on: figures, for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: Literal[1, 2]
    encoder: str
    encoder_name: str
    dim: int = Field(ge=1)
    counted: tuple[str, ...]
    mean: str
    scale: str
    centres: str
    spread: str
    slopes: str
    level: str
    tiers: int = Field(default=2, ge=2)
    calibration: tuple[float, float] | None = None
    calibrations: tuple[tuple[float, float], ...] = ()
    curve: tuple[Step, ...] = Field(min_length=2)
    min_quality: float | None = None
    max_calls: float | None = None
    max_cost: float | None = None
    trained_on: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> "RouterModel":
        if self.counted not in (SHAPE, SHAPE + FOUND):
            raise ValueError("its features are not those of this version: train it again")
        calibrated = (self.calibration is None, len(self.calibrations), self.tiers)
        if calibrated != ((False, 0, 2) if self.version == 1 else (True, self.tiers - 1, self.tiers)):
            raise ValueError("it is not calibrated as its version has it")
        if any(len(step.by_tier) != self.tiers for step in self.curve):
            raise ValueError("its curve is one of another number of models")
        weights = self.weights
        centres, counted = len(weights.spread), len(self.counted)
        shapes: dict[str, tuple[int, ...]] = {"mean": (counted,), "scale": (counted,), "level": (self.tiers,)}
        shapes["slopes"] = (self.dim + counted + centres, self.tiers)
        for name, shape in shapes.items():
            found = getattr(weights, name)
            if found.shape != shape or not np.isfinite(found).all():
                raise ValueError(f"{name} has the wrong size, or numbers that are none")
        return self

    @cached_property
    def weights(self) -> Weights:
        """The arrays, unpacked."""
        return Weights(
            unpack(self.mean),
            unpack(self.scale),
            unpack(self.centres).reshape(-1, self.dim),
            unpack(self.spread),
            unpack(self.slopes).reshape(-1, self.tiers),
            unpack(self.level),
        )

    def judge(self, vector: NDArray[np.float32], counted: Sequence[float]) -> Judged:
        """What is expected of the cheaper tiers.

        :param vector: (dim,) the question's embedding.
        :param counted: one number for each of `self.counted`.
        """
        raw = self.weights.chances(vector[None].astype(np.float64), np.array([counted]))
        losses = tuple(self.losses(raw)[0].tolist())
        if self.calibration is None:
            return Judged(tuple(1 - loss for loss in losses), losses)
        slope, level = self.calibration
        return Judged((float(logistic(slope * raw[0, 0] + level)),), losses)

    def losses(self, raw: Floats) -> Floats:
        """(questions, tiers - 1) what thresholds are of.

        :param raw: (questions, tiers) as `Weights.chances` gives it.
        """
        return losses_of(raw, self.calibrations)

    def step_for(self, min_quality: float | None, max_calls: float | None, max_cost: float | None = None) -> Step:
        """The cheapest point of the curve for a target.

        :param min_quality: with the others None too, the file's own target is taken.
        """
        if (min_quality, max_calls, max_cost) == (None, None, None):
            return cheapest_for(self.curve, self.min_quality, self.max_calls, self.max_cost)
        return cheapest_for(self.curve, min_quality, max_calls, max_cost)


def gaps(raw: Floats) -> Floats:
    """(questions, tiers - 1) what the last model's number is above each other one's."""
    return np.asarray(raw[:, -1:] - raw[:, :-1])


def losses_of(raw: Floats, calibrations: Sequence[tuple[float, float]]) -> Floats:
    """(questions, tiers - 1) how likely each tier is wrong where the last one is right.

    :param raw: (questions, tiers) as `Weights.chances` gives it.
    :param calibrations: slope and level, of each tier but the last; without any, what the last one gains.
    """
    if not calibrations:
        return gaps(raw)
    slopes, levels = np.array(calibrations).T
    return logistic(gaps(raw) * slopes + levels)


def logistic(numbers: Floats | float) -> Floats:
    """Numbers as chances."""
    return np.asarray(1 / (1 + np.exp(-np.clip(numbers, -50.0, 50.0))))


def pack(array: Floats) -> str:
    """An array as the file has it."""
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f4").tobytes()).decode()


def unpack(text: str) -> Floats:
    """The numbers of `pack`, flat.

    :raises ValueError: if it is none.
    """
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float64)


def load_router(file: Path, *, encoder: str) -> RouterModel:
    """Read a trained router.

    :param encoder: fingerprint of the embedding model that questions are embedded with.
    :raises SettingsError: if it is none, or of another model.
    """
    try:
        model = RouterModel.model_validate(json.loads(file.expanduser().read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"can't be read: {error}", where=str(file), remedy="Check `generation.router`") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"is no router: {place + ': ' if place else ''}{first['msg']}", where=str(file), remedy=_REMEDY
        ) from error
    except ValueError as error:
        raise SettingsError(f"is no JSON: {error}", where=str(file), remedy=_REMEDY) from error
    if model.encoder != encoder:
        raise SettingsError(
            f"was trained with another embedding model ({model.encoder_name})", where=str(file), remedy=_REMEDY
        )
    return model
