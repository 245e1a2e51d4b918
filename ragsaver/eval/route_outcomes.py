"""Recorded outcomes: which questions each of some models answered rightly, and what a router makes of them.

A router gives each question a score; the highest go to the strong model. The recovered share of the quality gap, over
the share of strong calls, is the curve that all figures are read from (RouteLLM, Ong et al. 2024, section 3).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, ValidationError, model_validator

from ragsaver.components.route_features import FOUND
from ragsaver.errors import UsageError

SHARES = 11  # of strong calls, evenly spaced from 0 to 1, that APGR is the mean over
FEWEST = 100

Floats = NDArray[np.float64]
History = tuple[tuple[str, str], ...]

_REMEDY = (
    'Write rows like {"query": "...", "weak_ok": true, "strong_ok": true, "group": "..."}, '
    'or "ok": [false, true, true] for any number of models'
)


class _Said(BaseModel):
    role: Literal["user", "assistant"]
    content: str


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    query: str = Field(min_length=1)
    weak_ok: bool | None = None
    strong_ok: bool | None = None
    ok: tuple[bool, ...] | None = Field(default=None, min_length=2)
    cost_usd: tuple[NonNegativeFloat, ...] | None = None
    group: str = ""
    history: tuple[_Said, ...] = ()
    found: Mapping[str, float] | None = None

    @model_validator(mode="after")
    def _has_one_outcome_a_model(self) -> Self:
        if self.ok is not None and (self.weak_ok, self.strong_ok) != (None, None):
            raise ValueError("`ok` says it all: leave `weak_ok` and `strong_ok` out")
        for name, one in {"weak_ok": self.weak_ok, "strong_ok": self.strong_ok}.items():
            if self.ok is None and one is None:
                raise ValueError(f"`{name}`: field required")
        if self.cost_usd is not None and len(self.cost_usd) != len(self.outcomes):
            raise ValueError(f"`cost_usd` has {len(self.cost_usd)} models, the outcomes have {len(self.outcomes)}")
        return self

    @property
    def outcomes(self) -> tuple[bool, ...]:
        return self.ok or (bool(self.weak_ok), bool(self.strong_ok))


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What was recorded, one entry for each question.

    :ivar ok: (questions, tiers) 1 where the model was right, the cheapest first, float64.
    :ivar groups: numbers of the groups that the questions belong to.
    :ivar found: (questions, len(FOUND)) what retrieval found, where every row says so; else no columns.
    :ivar usd: (questions, tiers) what each answer cost, where every row says so; else no columns.
    :ivar histories: the conversation before each question.
    """

    queries: tuple[str, ...]
    ok: Floats
    groups: NDArray[np.int64]
    found: Floats
    usd: Floats
    histories: tuple[History, ...]

    @property
    def tiers(self) -> int:
        """How many models."""
        return int(self.ok.shape[1])

    @property
    def weak(self) -> Floats:
        """(questions,) of the cheapest model."""
        return self.ok[:, 0]

    @property
    def strong(self) -> Floats:
        """(questions,) of the last model."""
        return self.ok[:, -1]

    @property
    def gain(self) -> Floats:
        """What the strong model is better than the weak one, question by question: 1, 0 or -1."""
        return np.asarray(self.strong - self.weak)

    @property
    def gap(self) -> float:
        """What it is better on average."""
        return float(self.gain.mean())

    def only(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "Outcomes":
        """Some of the questions, by a mask or by their places."""
        places = np.arange(len(self.queries))[which].tolist()
        return Outcomes(
            tuple(self.queries[place] for place in places),
            self.ok[places],
            self.groups[places],
            self.found[places],
            self.usd[places],
            tuple(self.histories[place] for place in places),
        )


def read_outcomes(file: Path) -> Outcomes:
    """Read JSON lines of `query`, `weak_ok` and `strong_ok` or `ok`, and `group`, `cost_usd`, `history` and `found`
    where they are there.

    :raises UsageError: naming the line that is wrong, or if nothing can be learned: too few rows, or no gap.
    """
    rows = _rows(file)
    found = [row.found for row in rows]
    if any(one is not None and set(one) != set(FOUND) for one in found):
        raise UsageError(f"`found` must have exactly: {', '.join(FOUND)}", where=str(file))
    if len(rows) < FEWEST:
        raise UsageError(f"has {len(rows)} questions, {FEWEST} are the fewest", where=str(file))
    if len({len(row.outcomes) for row in rows}) > 1:
        raise UsageError("rows have outcomes of different numbers of models", where=str(file), remedy=_REMEDY)
    _, groups = np.unique([row.group for row in rows], return_inverse=True)
    outcomes = Outcomes(
        tuple(row.query for row in rows),
        np.array([row.outcomes for row in rows], dtype=np.float64),
        groups.astype(np.int64).reshape(-1),
        _columns([None if one is None else [one[name] for name in FOUND] for one in found]),
        _columns([row.cost_usd for row in rows]),
        tuple(tuple((said.role, said.content) for said in row.history) for row in rows),
    )
    if outcomes.gap <= 0:
        raise UsageError(
            "the strong model is not better than the weak one: there is nothing to route for",
            where=str(file),
            remedy="Check the outcomes, the cheapest model's first, or keep the weak model alone",
        )
    if outcomes.usd.size and not (np.diff(outcomes.usd.mean(axis=0)) > 0).all():
        raise UsageError(
            "`cost_usd` does not grow from model to model", where=str(file), remedy="Name the cheapest model first"
        )
    return outcomes


def _rows(file: Path) -> list[_Row]:
    rows: list[_Row] = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"can't be read: {error}", where=str(file), remedy="Name a file of JSON lines") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(_Row.model_validate(json.loads(line)))
        except ValidationError as error:
            first = error.errors()[0]
            said = first["msg"].removeprefix("Value error, ")
            problem = f"`{'.'.join(map(str, first['loc']))}`: {said}" if first["loc"] else said
            raise UsageError(problem, where=f"{file}:{number}", remedy=_REMEDY) from error
        except ValueError as error:
            raise UsageError(f"is no JSON: {error}", where=f"{file}:{number}", remedy=_REMEDY) from error
    return rows


def _columns(rows: Sequence[Sequence[float] | None]) -> Floats:
    """(rows, numbers), or no columns where a row has none."""
    there = [row for row in rows if row is not None]
    return np.array(there, dtype=np.float64) if len(there) == len(rows) > 0 else np.zeros((len(rows), 0))


def recovered(scores: Floats, gain: Floats) -> Floats:
    """(questions + 1,) share of the quality gap that is recovered when the n highest scores go to the strong model.

    Questions with the same score share what they gain, so that their order in the file decides nothing.
    """
    _, kind = np.unique(-scores, return_inverse=True)
    kind = kind.reshape(-1)
    mean = np.bincount(kind, weights=gain) / np.bincount(kind)
    order = np.argsort(kind, kind="stable")
    return np.asarray(np.concatenate([[0.0], np.cumsum(mean[kind[order]])]) / gain.sum())


def apgr(curve: Floats) -> float:
    """Average performance gap recovered: the mean of the curve at `SHARES` evenly spaced shares of strong calls.

    0.5 is what random calls give. RouteLLM's own script takes the area under the curve, which is a little more
    where it is above 0.5.
    """
    places = np.linspace(0, len(curve) - 1, SHARES)
    return float(np.interp(places, np.arange(len(curve)), curve).mean())


def area(curve: Floats) -> float:
    """The area under the curve, by trapezoids."""
    return float((curve[1:] + curve[:-1]).mean() / 2)


def calls_for(curve: Floats, share: float) -> float:
    """The smallest share of strong calls that recovers a share of the gap (call-performance threshold)."""
    return float(np.argmax(curve >= share - 1e-12) / (len(curve) - 1))
