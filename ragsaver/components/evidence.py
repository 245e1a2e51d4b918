"""Which chunks is an answer made from? Stages write it down, so that a kept answer can fall with them.

A chunk is stamped with all that its point carried when it was read: text, place, metadata, who may read it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray


def stamp_of(payload: Mapping[str, Any]) -> str:
    """A digest (xxh3-128) of what a point carries; another one whenever any of it is."""
    return xxhash.xxh3_128_hexdigest(_SORTED.encode(payload).encode())


_SORTED = json.JSONEncoder(sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str)


class Evidence:
    """What a question's stages read.

    :ivar mark: of the collection, taken before anything was read in it; None where nobody knows.
    :ivar wide: whether more than chunks was read.
    :ivar vectors: that were asked for, by question: none is asked for twice.
    :ivar tokens: vectors of a question's tokens, (tokens, dim) float32, where the same run of the model gave them.
    """

    def __init__(self, mark: str | None = None) -> None:
        self.mark = mark
        self.vectors: dict[str, NDArray[np.float32]] = {}
        self.tokens: dict[str, NDArray[np.float32]] = {}
        self.wide = False
        self._found: dict[str, str | Mapping[str, Any]] = {}  # a chunk's stamp, or what it is to be stamped with
        self._documents: dict[str, str] = {}
        self._packed: set[str] | None = None
        self._spoilt: str | None = None

    def embedded(self, other: "Evidence") -> None:
        """Questions were embedded in making another one."""
        self.vectors |= other.vectors
        self.tokens |= other.tokens

    def read(self, carried: Mapping[str, Mapping[str, Any]]) -> None:
        """Chunks were read: what each carries, by id; it is stamped when somebody asks for it."""
        for chunk_id, payload in carried.items():
            self._found[chunk_id] = payload
            self._documents[chunk_id] = str(payload.get("document_id", ""))

    def note(self, chunk_id: str, document_id: str, stamp: str) -> None:
        """A chunk was found."""
        self._found[chunk_id] = stamp
        self._documents[chunk_id] = document_id

    def stamp(self, chunk_id: str) -> str | None:
        """That of a chunk that was found."""
        found = self._found.get(chunk_id)
        if found is None or isinstance(found, str):
            return found
        stamp = self._found[chunk_id] = stamp_of(found)
        return stamp

    def widen(self) -> None:
        """More than chunks was read: the answer falls with any change of the collection."""
        self.wide = True

    def pack(self, chunk_ids: Iterable[str]) -> None:
        """Of what was found, only this reaches the model."""
        self._packed = {*(self._packed or ()), *chunk_ids}

    def spoil(self, reason: str) -> None:
        """The answer is not to be kept: it is worse than it would be another time."""
        self._spoilt = reason

    def stamps(self) -> dict[str, str] | None:
        """Stamps of the chunks that the answer is made from, by id; None if it can't be kept: some are unknown."""
        if self._spoilt is not None:
            return None
        used = self._found.keys() if self._packed is None else self._packed
        stamps = {one: stamp for one in sorted(used) if (stamp := self.stamp(one)) is not None}
        return stamps if len(stamps) == len(used) else None

    def documents(self, chunk_ids: Iterable[str]) -> list[str]:
        """Ids of the documents that these chunks are of."""
        return sorted({self._documents[one] for one in chunk_ids})


_current: ContextVar[Evidence | None] = ContextVar("ragsaver_evidence", default=None)


def current_evidence() -> Evidence | None:
    """The running question's; None where its answer will not be kept."""
    return _current.get()


@contextmanager
def gathering(evidence: Evidence) -> Iterator[Evidence]:
    """Let the code inside write down what it reads."""
    token = _current.set(evidence)
    try:
        yield evidence
    finally:
        _current.reset(token)
