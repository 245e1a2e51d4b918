"""What RAGSaver asks of an index: small enough that two engines can keep it alike."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, overload, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ragsaver.index.blend import Blend
from ragsaver.index.scope import Scope
from ragsaver.index.words import Words, WordSettings


class ChunkPoint(NamedTuple):
    """One chunk as the index keeps it.

    `vector` is (dim,) float32, L2-normalised. `lexical_text` is what BM25 sees, and `words` what it makes of it, where
    another process has done so: an index whose words are made otherwise makes its own. `payload` holds JSON values; the
    keys `scope`, `listed_in` and `document_id` are the index's own, and `groups` is a list of those who may read
    it, empty for everybody of the tenant.
    """

    id: str
    document_id: str
    vector: NDArray[np.float32]
    lexical_text: str
    payload: Mapping[str, Any] = MappingProxyType({})
    words: Words | None = None


class Hit(NamedTuple):
    """A point found by one leg, with that leg's raw score (cosine, or BM25)."""

    id: str
    score: float
    payload: Mapping[str, Any]


class Leg(Sequence[Hit]):
    """What one leg found, best first. Questions want the scores alone: a hit is made for who looks at it.

    :param payloads: empty ones if None.
    """

    __slots__ = ("_ids", "_payloads", "_scores")

    def __init__(
        self, ids: Sequence[str] = (), scores: Sequence[float] = (), payloads: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        self._ids = ids
        self._scores = scores
        self._payloads = payloads

    def scores(self) -> dict[str, float]:
        """By point."""
        return dict(zip(self._ids, self._scores, strict=True))

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, at: int) -> Hit: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[Hit, ...]: ...

    def __getitem__(self, at: int | slice) -> Hit | tuple[Hit, ...]:
        if isinstance(at, slice):
            return tuple(self)[at]
        return Hit(self._ids[at], self._scores[at], self._payloads[at] if self._payloads is not None else {})

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, (Leg, tuple)) else NotImplemented

    def __repr__(self) -> str:
        return f"Leg{tuple(self)}"


@dataclass(frozen=True, slots=True)
class LegHits:
    """What the two legs found."""

    dense: Leg
    lexical: Leg

    def scores(self) -> tuple[dict[str, float], dict[str, float]]:
        """Each leg's own scores by point, the vectors' and BM25's."""
        return self.dense.scores(), self.lexical.scores()


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A point as an index keeps it, for another index to keep it alike.

    `vector` is (dim,) float32; `word_ids` and `word_weights` are BM25's sparse vector. `payload` has the index's own
    keys too.
    """

    id: str
    vector: NDArray[np.float32]
    word_ids: Sequence[int]
    word_weights: Sequence[float]
    payload: Mapping[str, Any]


class VectorIndex(Protocol):
    """Dense and BM25 vectors with payloads, always within a scope: what its groups may not read is not there.

    New points are written unlisted: `search` does not see them until `list_and_delete` names them.
    """

    @property
    def words(self) -> WordSettings | None:
        """How BM25 sees texts; None if it does not matter."""
        ...

    def search(
        self, scope: Scope, text: str, vector: NDArray[np.float32], limit: int, *, with_payload: bool = True
    ) -> LegHits:
        """Both legs in one call to the engine; `vector` is (dim,) float32.

        :param text: empty for the vector leg alone.
        :param with_payload: false leaves the hits' payloads empty, for who wants those of a few hits only.
        """
        ...

    def blends(self, blend: Blend) -> bool:
        """Whether the engine can make one order of both legs so."""
        ...

    def blended(self, scope: Scope, text: str, vector: NDArray[np.float32], limit: int, blend: Blend, most: int) -> Leg:
        """The first of both legs together, in one call to the engine, with payloads. Who asks has asked `blends`.

        :param limit: of each leg.
        :param most: that many of both.
        :returns: scores are the weighed sums; those that score alike stand in any order. Where `text` has no words that
            count they are the vectors' alone; words that are nowhere in the scope leave BM25's share empty.
        """
        ...

    def payloads(self, scope: Scope, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """What those of the points that are there carry."""
        ...

    def upsert(self, scope: Scope, points: Sequence[ChunkPoint]) -> None:
        """Write points, unlisted."""
        ...

    def list_and_delete(self, scope: Scope, listed: Sequence[str], deleted: Sequence[str]) -> None:
        """Show new points and drop old ones, in one batch: no search of this process sees both."""
        ...

    def set_payload(self, scope: Scope, payloads: Mapping[str, Mapping[str, Any]]) -> None:
        """Change what points carry; `payloads` maps a point's id to the keys that get a new value."""
        ...

    def vectors(self, scope: Scope, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The dense vectors of those points that are there, (dim,) float32 each."""
        ...

    def ids(self, scope: Scope) -> Iterator[tuple[str, bool]]:
        """Every point's id and whether it is listed."""
        ...

    def stored(self, scope: Scope) -> Iterator[list[StoredPoint]]:
        """Every point as it is kept, some at a time; what is written meanwhile may be missing."""
        ...

    def restore(self, scope: Scope, points: Sequence[StoredPoint]) -> None:
        """Write points as they were kept in another index, listed if they were."""
        ...

    def scopes(self) -> list[Scope]:
        """Every tenant and collection that has points."""
        ...

    def count(self, scope: Scope) -> int:
        """Points in the scope, listed or not."""
        ...

    def changes(self) -> int | None:
        """How often it was written to since it was opened, told once a write can be seen; None where others write."""
        ...

    def flush(self) -> None:
        """Make what was written last."""
        ...

    def optimise(self, *, force: bool = False) -> bool:
        """Search faster from now on, if enough was written since the last time; true if it was done.

        It may take minutes. Never called on the way of a question or a document.
        """
        ...

    def stop_optimising(self) -> None:
        """End an optimisation that is under way, and begin none any more."""
        ...

    def close(self) -> None:
        """Flush, and let go of the lock."""
        ...


@runtime_checkable
class AsyncIndex(Protocol):
    """An index that can be asked on an event loop too."""

    async def search_async(
        self, scope: Scope, text: str, vector: NDArray[np.float32], limit: int, *, with_payload: bool = True
    ) -> LegHits:
        """As `VectorIndex.search`, on the running event loop."""
        ...

    async def blended_async(
        self, scope: Scope, text: str, vector: NDArray[np.float32], limit: int, blend: Blend, most: int
    ) -> Leg:
        """As `VectorIndex.blended`, on the running event loop."""
        ...

    async def close_async(self) -> None:
        """Close what was opened for the running event loop."""
        ...
