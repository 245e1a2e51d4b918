"""Which of many questions is nearest to one? Their vectors' signs are compared first, then the nearest ones' vectors.

Two vectors at an angle differ in the share angle/180° of their signs, strangers in half (Charikar 2002): so those that
differ in few signs hold whatever is near by cosine, and signs are a thirty-second part of the vectors.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Area = TypeVar("Area", bound=Hashable)
Label = TypeVar("Label", bound=Hashable)

_BY_SIGNS = 64
_FIRST_ROOM = 256


@dataclass(frozen=True, slots=True)
class Near(Generic[Label]):
    """A question that is near, and how near (cosine)."""

    label: Label
    question: str
    cosine: float


@dataclass(slots=True)
class _Shelf(Generic[Label]):
    """One area's questions; `vectors[n]` and `signs[:, n]` belong to `labels[n]`."""

    vectors: NDArray[np.float16]
    signs: NDArray[np.uint64]
    labels: list[Label] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    at: dict[Label, int] = field(default_factory=dict)


class Nearest(Generic[Area, Label]):
    """Questions by area, each area searched by itself; any thread may use it.

    :param most: questions of all areas together; the area that was unused longest goes first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._shelves: OrderedDict[Area, _Shelf[Label]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return sum(len(shelf.labels) for shelf in self._shelves.values())

    def put(self, area: Area, label: Label, question: str, vector: NDArray[np.float32]) -> None:
        """Remember a question; `vector` is (dim,), L2-normalised."""
        with self._lock:
            shelf = self._shelves.get(area)
            if shelf is None:
                words = -(-len(vector) // 64)
                shelf = self._shelves[area] = _Shelf(
                    np.empty((_FIRST_ROOM, len(vector)), np.float16), np.empty((words, _FIRST_ROOM), np.uint64)
                )
            self._shelves.move_to_end(area)
            row = shelf.at.get(label)
            if row is None:
                if sum(len(one.labels) for one in self._shelves.values()) >= self._most:
                    self._make_room(area)
                row = len(shelf.labels)
                if row == len(shelf.vectors):
                    shelf.vectors = np.concatenate([shelf.vectors, np.empty_like(shelf.vectors)])
                    shelf.signs = np.concatenate([shelf.signs, np.empty_like(shelf.signs)], axis=1)
                shelf.labels.append(label)
                shelf.questions.append(question)
                shelf.at[label] = row
            shelf.questions[row] = question
            shelf.vectors[row] = vector
            shelf.signs[:, row] = _signs(vector)

    def remove(self, area: Area, label: Label) -> None:
        """Forget a question; the last one takes its row."""
        with self._lock:
            shelf = self._shelves.get(area)
            if shelf is not None and label in shelf.at:
                _take_out(shelf, label)

    def near(self, area: Area, vector: NDArray[np.float32], cosine_at_least: float, most: int) -> list[Near[Label]]:
        """Questions of the area, nearest first."""
        with self._lock:
            shelf = self._shelves.get(area)
            if shelf is None or not shelf.labels:
                return []
            self._shelves.move_to_end(area)
            count = len(shelf.labels)
            distance = _differing(shelf.signs[:, :count], _signs(vector))
            rows = np.flatnonzero(distance <= _limit(cosine_at_least, len(vector)))
            if len(rows) > _BY_SIGNS:
                rows = rows[np.argpartition(distance[rows], _BY_SIGNS)[:_BY_SIGNS]]
            cosines = shelf.vectors[rows].astype(np.float32) @ vector
            best = np.argsort(-cosines, kind="stable")[:most]
            return [
                Near(shelf.labels[rows[n]], shelf.questions[rows[n]], float(cosines[n]))
                for n in best
                if cosines[n] >= cosine_at_least
            ]

    def _make_room(self, for_area: Area) -> None:
        oldest = next(iter(self._shelves))
        if oldest != for_area:
            del self._shelves[oldest]
        else:  # it is the only one: its first question goes
            shelf = self._shelves[oldest]
            _take_out(shelf, shelf.labels[0])


def _take_out(shelf: _Shelf[Label], label: Label) -> None:
    row, last = shelf.at.pop(label), len(shelf.labels) - 1
    moved = shelf.labels[last]
    if row != last:
        shelf.labels[row], shelf.questions[row] = moved, shelf.questions[last]
        shelf.vectors[row], shelf.signs[:, row] = shelf.vectors[last], shelf.signs[:, last]
        shelf.at[moved] = row
    shelf.labels.pop()
    shelf.questions.pop()


def _signs(vector: NDArray[np.float32]) -> NDArray[np.uint64]:
    """One bit for each dimension, (words,) uint64."""
    bits = np.packbits(vector > 0)
    return np.frombuffer(bits.tobytes().ljust(-(-len(bits) // 8) * 8, b"\0"), np.uint64)


def _limit(cosine: float, dim: int) -> int:
    """Signs in which two vectors of that cosine differ, and four standard deviations more."""
    share = math.acos(max(-1.0, min(1.0, cosine))) / math.pi
    return math.ceil(dim * share + 4 * math.sqrt(dim * share * (1 - share)))


def _differing(many: NDArray[np.uint64], one: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """How many signs differ, for each column of `many`."""
    total = np.zeros(many.shape[1], np.uint16)
    for row, word in zip(many, one, strict=True):
        total += _ones_in(np.bitwise_xor(row, word))
    return total


def _ones_in(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    if hasattr(np, "bitwise_count"):  # numpy 2
        return np.asarray(np.bitwise_count(words))
    return np.asarray(_ones()[words.view(np.uint16).reshape(-1, 4)].sum(axis=1, dtype=np.uint8))


@lru_cache(maxsize=1)
def _ones() -> NDArray[np.uint8]:
    return np.array([number.bit_count() for number in range(2**16)], np.uint8)
