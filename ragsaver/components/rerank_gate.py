"""Is a reranker worth its price for this question? A small model of what can be seen, and how many calls it may take.

The model gives the chance that the reranked order is better than the fused one. Chances are comparable within one
corpus only: on one, every other question changes a little, on another one in ten changes a lot. So the gate is told
not a chance, but which share of the questions may be reranked, and takes those with the highest chances among the
recent ones of their collection. `ragsaver eval tune-gate` fits and writes it.
"""

import json
import math
import threading
from collections import OrderedDict, deque
from collections.abc import Hashable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ragsaver.components.fusion import min_max
from ragsaver.components.rerank_features import NAMES
from ragsaver.errors import SettingsError

# Shipped gates: tuned with the usual retrieval, and with the second search of `retrieval.feedback_passages`.
SHIPPED: Mapping[str, str] = {"bundled": "rerank_gate.json", "asked-again": "rerank_gate_asked_again.json"}

_RECENT = 500  # questions of a collection that a threshold is taken from
_COLLECTIONS = 1000  # that are remembered


class Coefficient(BaseModel):
    """What one feature says, in standard deviations from its mean."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mean: float
    scale: float = Field(gt=0)
    weight: float


class Gate(BaseModel):
    """A tuned gate, as its file has it.

    :ivar reranker: the one it was tuned for, by name.
    :ivar weight: share of the reranker's score in the new order.
    :ivar top_n: passages that it was tuned on.
    :ivar share: of questions that are reranked.
    :ivar max_share: that it may grow to where the gate misses more than it did when it was tuned.
    :ivar skipped_moved: share of the skipped questions whose first passage the reranker would have changed.
    :ivar chances: quantiles of the chances it gave when it was tuned, evenly spaced; a new collection begins with them.
    :ivar tuned_on: data sets and figures, for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    reranker: str
    weight: float = Field(ge=0, le=1)
    top_n: int = Field(ge=2)
    share: float = Field(ge=0, le=1)
    max_share: float = Field(ge=0, le=1)
    skipped_moved: float = Field(ge=0, le=1)
    intercept: float
    coefficients: dict[str, Coefficient]
    chances: tuple[float, ...] = Field(min_length=1)
    tuned_on: dict[str, dict[str, float]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _knows_what_is_seen(self) -> "Gate":
        if set(self.coefficients) != set(NAMES):
            raise ValueError("its features are not those of this version: tune it again")
        return self

    def chance(self, seen: Sequence[float]) -> float:
        """That another order is better, 0 to 1.

        :param seen: as `features` gives it.
        """
        total = self.intercept
        for name, value in zip(NAMES, seen, strict=True):
            one = self.coefficients[name]
            total += one.weight * (value - one.mean) / one.scale
        return 1 / (1 + math.exp(-max(min(total, 500.0), -500.0)))


def load_gate(where: str) -> Gate:
    """Read a gate.

    :param where: the name of a shipped one, or a file.
    :raises SettingsError: if it is none.
    """
    shipped = SHIPPED.get(where)
    path = Path(str(files("ragsaver.components"))) / shipped if shipped else Path(where)
    try:
        return Gate.model_validate(json.loads(path.expanduser().read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"can't be read: {error}", where=str(path), remedy="Check `rerank.gate`") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"is no gate: {place + ': ' if place else ''}{first['msg']}",
            where=str(path),
            remedy="Write it with `ragsaver eval tune-gate --out`",
        ) from error
    except ValueError as error:
        raise SettingsError(
            f"is no JSON: {error}", where=str(path), remedy="Write it with `ragsaver eval tune-gate --out`"
        ) from error


def threshold(chances: Sequence[float], share: float) -> float:
    """The chance that a share of the chances is above; of those that are equal to it none counts as above."""
    if share <= 0:
        return math.inf
    ordered = sorted(chances, reverse=True)
    allowed = int(share * len(ordered))
    return ordered[allowed] if allowed < len(ordered) else -math.inf


class Recent:
    """The chances of each collection's recent questions, from any thread."""

    def __init__(self, begin_with: Sequence[float]) -> None:
        self._begin_with = tuple(begin_with)
        self._of: OrderedDict[Hashable, deque[float]] = OrderedDict()
        self._noting = threading.Lock()

    def threshold(self, collection: Hashable, chance: float, share: float) -> float:
        """What a chance must exceed now; notes it for the next one.

        :param collection: whose chances, with all that decides what is seen of it.
        """
        with self._noting:
            recent = self._of.setdefault(collection, deque(self._begin_with, maxlen=_RECENT))
            self._of.move_to_end(collection)
            if len(self._of) > _COLLECTIONS:
                self._of.popitem(last=False)
            recent.append(chance)
            return threshold(recent, share)


def mix(fused: Sequence[float], reranked: Sequence[float], weight: float) -> list[float]:
    """New scores within the range of the fused ones, so that they stay comparable with what was not looked at.

    :param fused: of the passages that were looked at.
    :param reranked: as many, on any scale.
    :param weight: share of the reranker, 0 to 1.
    """
    if not fused:
        return []
    low, high = min(fused), max(fused)
    old, new = (_spread(scores) for scores in (fused, reranked))
    return [low + (high - low) * ((1 - weight) * a + weight * b) for a, b in zip(old, new, strict=True)]


def new_order(scores: Sequence[float]) -> list[int]:
    """Positions, best first; those that score alike stay as they stood."""
    return sorted(range(len(scores)), key=lambda position: (-scores[position], position))


def left_behind(scores: Sequence[float], depth: int = 5) -> float:
    """Share of the best scores that the first passages lack as they stand: what skipping cost in the reranker's eyes.

    :param scores: new ones, in the old order.
    """
    best = sum(sorted(scores, reverse=True)[:depth])
    return max(0.0, 1 - sum(scores[:depth]) / best) if best > 0 else 0.0


def _spread(scores: Sequence[float]) -> list[float]:
    by_place: Mapping[str, float] = min_max({str(place): score for place, score in enumerate(scores)})
    return list(by_place.values())
