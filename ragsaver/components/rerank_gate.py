"""Is a reranker worth its price for this question, and is its order better? Two small models of what can be seen.

The model gives the chance that the reranked order is better than the fused one. Chances are comparable within one
corpus only: on one, every other question changes a little, on another one in ten changes a lot. So the gate is told
not a chance, but which share of the questions may be reranked, and takes those with the highest chances among the
recent ones of their collection. Once the reranker has answered more can be seen, and where the old order is likelier to
be the better one it stays. `ragsaver eval tune-gate` fits both and writes them.
"""

import json
import math
import threading
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Hashable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ragsaver.components.rerank_features import NAMES
from ragsaver.components.rerank_order import mix
from ragsaver.components.rerank_outcome import NAMES as OUTCOME_NAMES
from ragsaver.components.rerank_outcome import outcome
from ragsaver.errors import SettingsError

# Shipped gates: tuned with the usual retrieval, and with the second search of `retrieval.feedback_passages`.
SHIPPED: Mapping[str, str] = {"bundled": "rerank_gate.json", "asked-again": "rerank_gate_asked_again.json"}

EVEN = 0.5  # above it the new order is taken

_RECENT = 500  # questions of a collection that a threshold is taken from
_COLLECTIONS = 1000  # that are remembered


class Weighed(NamedTuple):
    """Scores of a new order, and the chance that it is the better one."""

    scores: list[float]
    chance: float

    @property
    def taken(self) -> bool:
        """Whether it is the likelier one of the two to be better."""
        return self.chance > EVEN


class Coefficient(BaseModel):
    """What one feature says, in standard deviations from its mean."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mean: float
    scale: float = Field(gt=0)
    weight: float


class Taking(BaseModel):
    """Whether the order of a reranker's scores is taken: a model of what is seen before and after it is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    intercept: float
    coefficients: dict[str, Coefficient]

    @model_validator(mode="after")
    def _knows_what_is_seen(self) -> "Taking":
        _require_names(self.coefficients, (*NAMES, *OUTCOME_NAMES))
        return self

    def chance(self, seen: Sequence[float]) -> float:
        """That the new order is the better one, 0 to 1.

        :param seen: as `features` gives it, and then `outcome`.
        """
        return _chance(self.intercept, self.coefficients, (*NAMES, *OUTCOME_NAMES), seen)


class Gate(BaseModel):
    """A tuned gate, as its file has it.

    :ivar reranker: the one it was tuned for, by name.
    :ivar weight: share of the reranker's score in the new order.
    :ivar top_n: passages that it was tuned on.
    :ivar share: of questions that are reranked.
    :ivar max_share: that it may grow to where the gate misses more than it did when it was tuned.
    :ivar skipped_moved: share of the skipped questions whose first passage the reranker would have changed.
    :ivar chances: quantiles of the chances it gave when it was tuned, evenly spaced; a new collection begins with them.
    :ivar taking: None in a file of an earlier version: what is reranked is taken.
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
    taking: Taking | None = None
    tuned_on: dict[str, dict[str, float]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _knows_what_is_seen(self) -> "Gate":
        _require_names(self.coefficients, NAMES)
        return self

    def chance(self, seen: Sequence[float]) -> float:
        """That another order is better, 0 to 1.

        :param seen: as `features` gives it.
        """
        return _chance(self.intercept, self.coefficients, NAMES, seen)

    def weigh(self, seen: Sequence[float], fused: Sequence[float], reranked: Sequence[float], weight: float) -> Weighed:
        """What a reranker's scores make of the order.

        :param seen: as `features` gives it.
        :param fused: scores of the passages, best first.
        :param reranked: the reranker's, in the same order.
        :param weight: share of the reranker's.
        """
        scores = mix(fused, reranked, weight)
        chance = self.taking.chance((*seen, *outcome(fused, reranked, scores))) if self.taking else 1.0
        return Weighed(scores, chance)


def _require_names(coefficients: Mapping[str, Coefficient], names: Sequence[str]) -> None:
    if set(coefficients) != set(names):
        raise ValueError("its features are not those of this version: tune it again")


def _chance(
    intercept: float, coefficients: Mapping[str, Coefficient], names: Sequence[str], seen: Sequence[float]
) -> float:
    total = intercept
    for name, value in zip(names, seen, strict=True):
        one = coefficients[name]
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
    ordered = sorted(chances)  # at once, if they are in order
    allowed = int(share * len(ordered))
    return ordered[-1 - allowed] if allowed < len(ordered) else -math.inf


class _Chances:
    """The latest ones, also in order."""

    def __init__(self, begin_with: Sequence[float]) -> None:
        self._latest = deque(begin_with)
        self._ordered = sorted(begin_with)

    def threshold(self, chance: float, share: float) -> float:
        self._latest.append(chance)
        insort(self._ordered, chance)
        if len(self._latest) > _RECENT:
            del self._ordered[bisect_left(self._ordered, self._latest.popleft())]
        return threshold(self._ordered, share)


class Recent:
    """The chances of each collection's recent questions, from any thread.

    :param begin_with: the chances that a new collection is taken to have.
    """

    def __init__(self, begin_with: Sequence[float]) -> None:
        self._begin_with = tuple(begin_with)
        self._of: OrderedDict[Hashable, _Chances] = OrderedDict()
        self._noting = threading.Lock()

    def threshold(self, collection: Hashable, chance: float, share: float) -> float:
        """What a chance must exceed now; notes it for the next one.

        :param collection: whose chances, with all that decides what is seen of it.
        """
        with self._noting:
            recent = self._of.setdefault(collection, _Chances(self._begin_with))
            self._of.move_to_end(collection)
            if len(self._of) > _COLLECTIONS:
                self._of.popitem(last=False)
            return recent.threshold(chance, share)
