"""Will the cheaper model do? A small linear model of recorded outcomes, in one JSON file that the settings name.

It sees the question's embedding as it is, how near that is to each of some centres (so that it can tell one kind of
question from another, which a straight line can't), and what `route_features` counts. From these it gives two numbers:
how likely the weak model is right, and how much likelier the strong one is.
"""

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ragsaver.components.route_features import FOUND, SHAPE
from ragsaver.errors import SettingsError

VERSION: Literal[1] = 1
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
    :ivar slopes: (dim + counted + centres, 2), for the weak and for the strong model.
    :ivar level: (2,)
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
        """(questions, 2) how right the weak and the strong model are, on a scale of about 0 to 1."""
        return np.asarray(self.seen(vectors, counted) @ self.slopes + self.level)


def nearness(vectors: Floats, centres: Floats) -> Floats:
    """(questions, centres) soft membership; each row adds up to 1."""
    raw = np.exp(SHARPNESS * (vectors @ centres.T - 1.0))
    return np.asarray(raw / raw.sum(axis=1, keepdims=True))


class Step(BaseModel):
    """One point of the curve that was measured when the router was trained, on questions it had not seen.

    :ivar calls: share of questions that go to the strong model.
    :ivar above: they are those whose gain is above this.
    :ivar quality: right answers of both together, over those of the strong model alone.
    :ivar error: its standard error: how far another sample of questions may easily be off.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    calls: float = Field(ge=0, le=1)
    above: float
    quality: float = Field(ge=0)
    error: float = Field(default=0.0, ge=0)


class RouterModel(BaseModel):
    """A trained router, as its file has it. Arrays are little-endian float32 in base64.

    :ivar encoder: fingerprint of the embedding model that it was trained with.
    :ivar encoder_name: the same, for people.
    :ivar counted: names of the counted features.
    :ivar calibration: slope and level of the logistic curve from the weak model's number to its chance.
    :ivar curve: from no calls of the strong model to all.
    :ivar min_quality: the target that it was trained for, if it was a quality.
    :ivar max_calls: the same, if it was a share of calls.
    :ivar trained_on: figures, for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: Literal[1]
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
    calibration: tuple[float, float]
    curve: tuple[Step, ...] = Field(min_length=2)
    min_quality: float | None = None
    max_calls: float | None = None
    trained_on: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> "RouterModel":
        if self.counted not in (SHAPE, SHAPE + FOUND):
            raise ValueError("its features are not those of this version: train it again")
        weights = self.weights
        centres, counted = len(weights.spread), len(self.counted)
        shapes: dict[str, tuple[int, ...]] = {"mean": (counted,), "scale": (counted,), "level": (2,)}
        shapes["slopes"] = (self.dim + counted + centres, 2)
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
            unpack(self.slopes).reshape(-1, 2),
            unpack(self.level),
        )

    def judge(self, vector: NDArray[np.float32], counted: Sequence[float]) -> tuple[float, float]:
        """The chance that the weak model is right, and the strong one's gain over it.

        :param vector: (dim,) the question's embedding.
        :param counted: one number for each of `self.counted`.
        """
        ((weak, strong),) = self.weights.chances(vector[None].astype(np.float64), np.array([counted])).tolist()
        slope, level = self.calibration
        return 1 / (1 + math.exp(-max(min(slope * weak + level, 50.0), -50.0))), strong - weak

    def step_for(self, min_quality: float | None, max_calls: float | None) -> Step:
        """The fewest calls that keep a quality, within a share of calls; the best quality there if none keeps it.

        It has to be kept by a standard error: of many points that are measured, the first that seems good enough is
        one that chance was kind to (Breiman et al. 1984, section 3.4.3, choose so too).

        :param min_quality: with `max_calls` None too, the file's own target is taken.
        """
        if min_quality is None and max_calls is None:
            min_quality, max_calls = self.min_quality, self.max_calls
        allowed = [step for step in self.curve if max_calls is None or step.calls <= max_calls + 1e-9]
        allowed = allowed or [self.curve[0]]
        enough = [step for step in allowed if min_quality is not None and step.quality - step.error >= min_quality]
        if enough:
            return min(enough, key=lambda step: step.calls)
        return max(allowed, key=lambda step: (step.quality, -step.calls))

    def less_of(self, step: Step, strong: float) -> Step:
        """A point with fewer calls than another, between those that were measured: its threshold is no lower.

        :param strong: factor of its calls, 0 to 1.
        """
        if strong >= 1:
            return step
        calls = step.calls * max(strong, 0.0)
        steps = sorted(self.curve, key=lambda one: one.calls)
        shares = [one.calls for one in steps]
        above = float(np.interp(calls, shares, [one.above for one in steps]))
        quality = float(np.interp(calls, shares, [one.quality for one in steps]))
        return Step(calls=calls, above=max(above, step.above), quality=quality)

    def step_at(self, calls: float) -> Step:
        """The point of the curve that is nearest to a share of calls."""
        return min(self.curve, key=lambda step: (abs(step.calls - calls), step.calls))


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
