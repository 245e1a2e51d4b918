"""What the embedded engine is asked, and what it answers, in its own words."""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import qdrant_edge as qdrant

from ragsaver.index.blend import Blend
from ragsaver.index.edge_payload import packed, unpacked
from ragsaver.index.keys import DENSE, EARLIER_STATE, GROUPS, LEXICAL, LISTED_IN, SCOPE, payload_of, scope_key, shown_in
from ragsaver.index.protocol import ChunkPoint, Leg, StoredPoint
from ragsaver.index.scope import Scope
from ragsaver.index.words import WordSettings, counted, word_lists

# How a point begins to tell of itself.
_ID_BEFORE = 'ScoredPoint(id="'
_ID = slice(len(_ID_BEFORE), len(_ID_BEFORE) + 36)

# Points that name who may read them.
NAMES_GROUPS = qdrant.Filter(must_not=[qdrant.IsEmptyCondition(GROUPS)])


def within(scope: Scope, *, ids: Sequence[str] | None = None) -> qdrant.Filter:
    """What a call may see, narrowed to some points."""
    if ids is None:
        return _all_of(scope)
    return qdrant.Filter(must=[*_conditions(scope), qdrant.HasIdCondition(set(ids))])


def listed_in(scope: Scope, coming: frozenset[str] = frozenset()) -> qdrant.Filter:
    """What a question may find.

    :param coming: points that are not listed yet.
    """
    return _but_for(scope, coming) if coming else within(scope)


@lru_cache(maxsize=8)
def _but_for(scope: Scope, coming: frozenset[str]) -> qdrant.Filter:
    return qdrant.Filter(must=_conditions(scope), must_not=[qdrant.HasIdCondition(set(coming))])


@lru_cache(maxsize=1024)
def _all_of(scope: Scope) -> qdrant.Filter:
    """The same one again: to make it takes half a millisecond."""
    return qdrant.Filter(must=_conditions(scope))


def _conditions(scope: Scope) -> list[Any]:
    ours = qdrant.FieldCondition(SCOPE, match=qdrant.MatchValue(scope_key(scope)))
    return [ours] if scope.groups is None else [ours, _readable(scope.groups)]


def _readable(groups: frozenset[str]) -> qdrant.Filter:
    """Of no groups, or of one of these."""
    of_mine = qdrant.FieldCondition(GROUPS, match=qdrant.MatchAny(sorted(groups)))
    return qdrant.Filter(should=[qdrant.IsEmptyCondition(GROUPS), *([of_mine] if groups else [])])


class AskedLeg(NamedTuple):
    """One leg's question.

    :ivar visible: what it may find; None for all.
    """

    vector: Any
    using: str
    limit: int
    visible: qdrant.Filter | None
    params: qdrant.SearchParams | None = None

    def request(self, with_payload: bool) -> qdrant.QueryRequest:
        """By itself."""
        return qdrant.QueryRequest(
            self.limit, query=self._query, filter=self.visible, with_payload=with_payload, params=self.params
        )

    def before(self) -> qdrant.Prefetch:
        """As what another question is asked of."""
        return qdrant.Prefetch(self.limit, query=self._query, filter=self.visible, params=self.params)

    @property
    def _query(self) -> qdrant.Query:
        return qdrant.Query.Nearest(self.vector, using=self.using)


def blended(legs: Sequence[AskedLeg], blend: Blend, most: int) -> qdrant.QueryRequest:
    """All legs' question with one answer, payloads with it.

    The legs are filtered; what is made of them is not once more: that would ask the same of every point again.
    """
    way: Any = qdrant.Fusion.Rrf(k=blend.counted_from_0) if blend.way == "rrf" else qdrant.Fusion.Dbsf()
    before, query = [one.before() for one in legs], way
    if len(legs) > 1 and not blend.is_even:
        # weights of the engine's own are of another formula: each leg is put on the scale alone
        before = [
            qdrant.Prefetch(one.limit, query=way, prefetches=[own]) for one, own in zip(legs, before, strict=True)
        ]
        query = _weighed(1 - blend.lexical_weight, blend.lexical_weight)
    return qdrant.QueryRequest(most, query=query, prefetches=before, with_payload=True)


@lru_cache(maxsize=64)
def _weighed(*shares: float) -> qdrant.Formula:
    scores = [f"$score[{place}]" for place in range(len(shares))]
    parts = [
        qdrant.Expression.Mult([qdrant.Expression.Constant(share), qdrant.Expression.Variable(score)])
        for share, score in zip(shares, scores, strict=True)
    ]
    return qdrant.Formula(qdrant.Expression.Sum(parts), dict.fromkeys(scores, 0.0))


def hits(scope: Scope, points: Sequence[qdrant.ScoredPoint], with_payload: bool, share: float = 1.0) -> Leg:
    """One leg's answer, or that of all; `share` is what scores are multiplied by."""
    # to look for a payload that was not asked for takes as long as all the rest
    payloads = [told(scope, point.payload) for point in points] if with_payload else None
    return Leg(_ids(points), [point.score * share for point in points], payloads)


def _ids(points: Sequence[qdrant.ScoredPoint]) -> list[str]:
    """Read off the points' own words: made UUIDs, and those texts again, they take three times as long."""
    if points and repr(points[0]).startswith(_ID_BEFORE):
        return [repr(point)[_ID] for point in points]
    return [str(point.id) for point in points]


def new_point(scope: Scope, point: ChunkPoint, words: WordSettings) -> qdrant.Point:
    """A chunk, for the engine to keep.

    :param words: how BM25 sees texts.
    """
    lexical = qdrant.SparseVector(*word_lists(point.lexical_text, point.words, words))
    return qdrant.Point(point.id, {DENSE: point.vector.tolist(), LEXICAL: lexical}, packed(payload_of(scope, point)))


def point_again(scope: Scope, point: StoredPoint) -> qdrant.Point:
    """A point as another index kept it, in the scope that it comes to."""
    lexical = qdrant.SparseVector(*counted(point.word_ids, point.word_weights))
    payload = packed({**point.payload, SCOPE: scope_key(scope)})
    return qdrant.Point(point.id, {DENSE: point.vector.tolist(), LEXICAL: lexical}, payload)


def told(scope: Scope, payload: Mapping[str, Any] | None, *, coming: bool = False) -> dict[str, Any]:
    """What a point of the scope carries, and that it is listed if it is.

    :param coming: whether it is not.
    """
    carried = unpacked(payload)
    for key in (LISTED_IN, EARLIER_STATE):  # as earlier versions said so
        carried.pop(key, None)
    if not coming:
        carried |= shown_in(scope)
    return carried


def stored_point(scope: Scope, record: qdrant.Record, coming: Collection[str]) -> StoredPoint:
    """A point with its vectors and payload, for another index."""
    vectors, point_id = record.vector, str(record.id)  # which are taken over from the engine anew each time
    assert isinstance(vectors, dict)
    words: Any = vectors.get(LEXICAL)
    return StoredPoint(
        point_id,
        np.asarray(vectors[DENSE], dtype=np.float32),
        list(words.indices) if words else [],
        list(words.values) if words else [],
        told(scope, record.payload, coming=point_id in coming),
    )


def there(shard: qdrant.EdgeShard, ids: Collection[str]) -> set[str]:
    """Those of some points that there are."""
    if not ids:
        return set()
    return {str(one.id) for one in shard.retrieve(list(ids), with_payload=False, with_vector=False)}


def scope_keys(shard: qdrant.EdgeShard, having: qdrant.Filter | None = None) -> dict[str, int]:
    """How many points of each scope's key there are."""
    found = shard.facet(qdrant.FacetRequest(SCOPE, limit=1_000_000, exact=True, filter=having)).hits
    return {_facet_text(hit.value): hit.count for hit in found if hit.count}


def _facet_text(value: Any) -> str:
    return str(value if isinstance(value, str) else getattr(value, "value", value))
