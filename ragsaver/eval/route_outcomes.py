"""Recorded outcomes: which questions a weak and a strong model answered rightly, and what a router makes of them.

A router gives each question a score; the highest go to the strong model. The recovered share of the quality gap, over
the share of strong calls, is the curve that all figures are read from (RouteLLM, Ong et al. 2024, section 3).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragsaver.components.route_features import FOUND
from ragsaver.errors import UsageError

SHARES = 11  # of strong calls, evenly spaced from 0 to 1, that APGR is the mean over

Floats = NDArray[np.float64]


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    query: str = Field(min_length=1)
    weak_ok: bool
    strong_ok: bool
    group: str = ""
    found: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What was recorded, one entry for each question.

    :ivar weak: 1 where the weak model was right, float64.
    :ivar strong: the same of the strong one.
    :ivar groups: numbers of the groups that the questions belong to.
    :ivar found: (questions, len(FOUND)) what retrieval found, where every row says so; else no columns.
    """

    queries: tuple[str, ...]
    weak: Floats
    strong: Floats
    groups: NDArray[np.int64]
    found: Floats

    @property
    def gain(self) -> Floats:
        """What the strong model is better, question by question: 1, 0 or -1."""
        return self.strong - self.weak

    @property
    def gap(self) -> float:
        """What it is better on average."""
        return float(self.gain.mean())


def read_outcomes(file: Path) -> Outcomes:
    """Read JSON lines of `query`, `weak_ok`, `strong_ok`, and `group` and `found` where they are there.

    :raises UsageError: naming the line that is wrong, or if nothing can be learned: too few rows, or no gap.
    """
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
            problem = f"`{'.'.join(map(str, first['loc']))}`: {first['msg']}" if first["loc"] else first["msg"]
            raise UsageError(problem, where=f"{file}:{number}", remedy=_REMEDY) from error
        except ValueError as error:
            raise UsageError(f"is no JSON: {error}", where=f"{file}:{number}", remedy=_REMEDY) from error
    found = [row.found for row in rows]
    if any(one is not None and set(one) != set(FOUND) for one in found):
        raise UsageError(f"`found` must have exactly: {', '.join(FOUND)}", where=str(file))
    complete = bool(rows) and all(one is not None for one in found)
    _, groups = np.unique([row.group for row in rows], return_inverse=True)
    outcomes = Outcomes(
        tuple(row.query for row in rows),
        np.array([row.weak_ok for row in rows], dtype=np.float64),
        np.array([row.strong_ok for row in rows], dtype=np.float64),
        groups.astype(np.int64).reshape(-1),
        np.array([[one[name] for name in FOUND] for one in found if one]) if complete else np.zeros((len(rows), 0)),
    )
    if len(rows) < FEWEST:
        raise UsageError(f"has {len(rows)} questions, {FEWEST} are the fewest", where=str(file))
    if outcomes.gap <= 0:
        raise UsageError(
            "the strong model is not better than the weak one: there is nothing to route for",
            where=str(file),
            remedy="Check `weak_ok` and `strong_ok`, or keep the weak model alone",
        )
    return outcomes


FEWEST = 100
_REMEDY = 'Write rows like {"query": "...", "weak_ok": true, "strong_ok": true, "group": "..."}'


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
