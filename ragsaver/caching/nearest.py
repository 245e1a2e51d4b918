"""Which of many questions is nearest to one? Their vectors' signs are compared first, then the nearest ones' vectors.

Two vectors at an angle differ in the share angle/180° of their signs, strangers in half (Charikar 2002): so those that
differ in few signs hold whatever is near by cosine, and signs are a thirty-second part of the vectors.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
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
    """One area's questions; `vectors[n]` and `signs[:, n]` belong to `labels[n]`; `at` has them as they were put."""

    vectors: NDArray[np.float16]
    signs: NDArray[np.uint64]
    labels: list[Label] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    at: OrderedDict[Label, int] = field(default_factory=OrderedDict)


class Nearest(Generic[Area, Label]):
    """Questions by area, each area searched by itself; any thread may use it.

    :param most: questions of all areas together; the area that was unused longest goes first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._shelves: OrderedDict[Area, _Shelf[Label]] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._count

    def __contains__(self, area: Area) -> bool:
        """Whether anything of the area was put, and it has not made room since."""
        return area in self._shelves

    def put(self, area: Area, label: Label, question: str, vector: NDArray[np.float32]) -> None:
        """Remember a question; `vector` is (dim,), L2-normalised."""
        self.put_all(area, {label: question}, vector[np.newaxis])

    def put_all(self, area: Area, asked: Mapping[Label, str], vectors: NDArray[np.float32]) -> None:
        """Remember questions in this order; `vectors` is (questions, dim), L2-normalised."""
        signs = _signs(vectors)
        with self._lock:
            shelf = self._shelves.get(area)
            if shelf is None:
                shelf = self._shelves[area] = _Shelf(
                    np.empty((_FIRST_ROOM, vectors.shape[1]), np.float16),
                    np.empty((len(signs), _FIRST_ROOM), np.uint64),
                )
            self._shelves.move_to_end(area)
            kept = list(asked)[-self._most :]
            for label in kept:
                if label in shelf.at:
                    shelf.at.move_to_end(label)
            fresh = sum(label not in shelf.at for label in kept)
            while self._count > self._most - fresh:
                self._make_room(area)
            self._count += fresh
            _grow(shelf, len(shelf.labels) + fresh)
            rows = [_row(shelf, label, asked[label]) for label in kept]
            shelf.vectors[rows] = vectors[-len(kept) :]
            shelf.signs[:, rows] = signs[:, -len(kept) :]

    def remove(self, area: Area, label: Label) -> None:
        """Forget a question; the last one takes its row."""
        with self._lock:
            shelf = self._shelves.get(area)
            if shelf is not None and label in shelf.at:
                self._count -= _take_out(shelf, label)

    def near(self, area: Area, vector: NDArray[np.float32], cosine_at_least: float, most: int) -> list[Near[Label]]:
        """Questions of the area, nearest first."""
        with self._lock:
            shelf = self._shelves.get(area)
            if shelf is None or not shelf.labels:
                return []
            self._shelves.move_to_end(area)
            count = len(shelf.labels)
            distance = _differing(shelf.signs[:, :count], _signs(vector[np.newaxis])[:, 0])
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
            self._count -= len(self._shelves.pop(oldest).labels)
        else:  # it is the only one: the question that was put longest ago goes
            shelf = self._shelves[oldest]
            self._count -= _take_out(shelf, next(iter(shelf.at)))


def _grow(shelf: _Shelf[Label], rows: int) -> None:
    while rows > len(shelf.vectors):
        shelf.vectors = np.concatenate([shelf.vectors, np.empty_like(shelf.vectors)])
        shelf.signs = np.concatenate([shelf.signs, np.empty_like(shelf.signs)], axis=1)


def _row(shelf: _Shelf[Label], label: Label, question: str) -> int:
    row = shelf.at.setdefault(label, len(shelf.labels))
    if row == len(shelf.labels):
        shelf.labels.append(label)
        shelf.questions.append(question)
    shelf.questions[row] = question
    return row


def _take_out(shelf: _Shelf[Label], label: Label) -> int:
    row, last = shelf.at.pop(label), len(shelf.labels) - 1
    moved = shelf.labels[last]
    if row != last:
        shelf.labels[row], shelf.questions[row] = moved, shelf.questions[last]
        shelf.vectors[row], shelf.signs[:, row] = shelf.vectors[last], shelf.signs[:, last]
        shelf.at[moved] = row
    shelf.labels.pop()
    shelf.questions.pop()
    return 1


def _signs(vectors: NDArray[np.float32]) -> NDArray[np.uint64]:
    """One bit for each dimension, (words, vectors) uint64."""
    bits = np.packbits(vectors > 0, axis=1)
    words = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 8)))
    return words.view(np.uint64).T


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
