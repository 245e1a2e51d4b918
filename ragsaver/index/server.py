"""The grown engine: a Qdrant server or cluster, which any number of processes may use at once.

One collection holds every tenant. As in the embedded engine tenant and collection are in every filter, a search's by
the key `listed_in`, any other by `scope`, which is the tenants' index there, and word statistics (IDF) are counted
within them; BM25's vectors are made by the same encoder.

New versions of a document take the place of the old ones in one request, in which the server first lists the new
points and then deletes the old ones. No search of this process falls between; one of another process may, for
milliseconds, and sees both then.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from operator import methodcaller
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from ragsaver.index.blend import Blend
from ragsaver.index.connection import Connection
from ragsaver.index.hnsw import HNSW_EF
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.keys import (
    DENSE,
    GROUPS,
    LEXICAL,
    LISTED_IN,
    SCOPE,
    change_of,
    is_listed,
    payload_in,
    payload_of,
    scope_key,
    scopes_of,
    sees,
    shown_in,
)
from ragsaver.index.protocol import ChunkPoint, Leg, LegHits, StoredPoint
from ragsaver.index.quantization import Quantization
from ragsaver.index.scope import Scope
from ragsaver.index.server_collection import Growth, open_collection
from ragsaver.index.swaps import Swaps
from ragsaver.index.words import counted, word_encoder, word_lists

T = TypeVar("T")

# Points of one request: with 384 dimensions about a megabyte.
_WRITTEN = 256
_READ = 1000
_CHANGES = 100


class ServerIndex:
    """A `VectorIndex` on `qdrant_client`.

    :param connection: closed together with the index.
    :param collection: its name at the server; made if missing.
    :param identity: what its points are made with; checked against what is there.
    :param tenant_idf: count word statistics within the scope only; takes Qdrant 1.19.
    :param growth: how the collection is made, if it is.
    :ivar words: how BM25 sees texts.
    :raises ModelMismatch: if another model built the collection.
    :raises IndexUnavailable: if the server does not answer.
    :raises StorageError: if it is too old.
    """

    def __init__(
        self,
        connection: Connection,
        collection: str,
        identity: IndexIdentity,
        *,
        tenant_idf: bool = True,
        growth: Growth | None = None,
    ) -> None:
        self.words = identity.words
        self._bm25 = word_encoder(identity.words)
        self._connection = connection
        self._name = collection
        self._tenant_idf = tenant_idf
        growth = growth or Growth()
        # Local mode looks at every whole vector.
        self._dense_search = None if connection.is_local else _dense_search(growth.quantization)
        self._swaps = Swaps()
        open_collection(connection, collection, identity, growth, tenant_idf=tenant_idf)

    def search(
        self, scope: Scope, text: str, vector: NDArray[np.float32], limit: int, *, with_payload: bool = True
    ) -> LegHits:
        """Both legs in one request; scores are cosine and BM25, as the server gives them."""
        return _found(self._asked(self._legs(scope, text, vector, limit, with_payload)))

    async def search_async(
        self, scope: Scope, text: str, vector: NDArray[np.float32], limit: int, *, with_payload: bool = True
    ) -> LegHits:
        """As `search`, on the running event loop; `close_async` closes what that opened."""
        if self._connection.is_local:
            return await asyncio.to_thread(self.search, scope, text, vector, limit, with_payload=with_payload)
        return _found(await self._asked_async(self._legs(scope, text, vector, limit, with_payload)))

    def blends(self, blend: Blend) -> bool:
        """Whether both legs weigh alike. Other weights would take a second step on each shard, whose ranks are its own;
        the server's own weights are of another formula.
        """
        return blend.is_even

    def blended(self, scope: Scope, text: str, vector: NDArray[np.float32], limit: int, blend: Blend, most: int) -> Leg:
        """The first passages of both legs together, in one request."""
        legs = self._legs(scope, text, vector, limit, False)
        return _of_all(self._asked([_blended(legs, blend, most)]), len(legs))

    async def blended_async(
        self, scope: Scope, text: str, vector: NDArray[np.float32], limit: int, blend: Blend, most: int
    ) -> Leg:
        """As `blended`, on the running event loop."""
        if self._connection.is_local:
            return await asyncio.to_thread(self.blended, scope, text, vector, limit, blend, most)
        legs = self._legs(scope, text, vector, limit, False)
        return _of_all(await self._asked_async([_blended(legs, blend, most)]), len(legs))

    def upsert(self, scope: Scope, points: Sequence[ChunkPoint]) -> None:
        """Write points, unlisted."""
        self._write(
            [
                _point(
                    point.id,
                    point.vector,
                    _sparse(*word_lists(point.lexical_text, point.words, self.words)),
                    payload_of(scope, point),
                )
                for point in points
            ]
        )

    def list_and_delete(self, scope: Scope, listed: Sequence[str], deleted: Sequence[str]) -> None:
        """Show new points and drop old ones in one request; ids of another scope are left alone."""
        changes: list[models.UpdateOperation] = []
        if listed:
            changes.append(_set(shown_in(scope), _within(scope, ids=listed)))
        if deleted:
            gone = models.FilterSelector(filter=_within(scope, ids=deleted))
            changes.append(models.DeleteOperation(delete=gone))
        with self._swaps.swap():
            self._change(changes)

    def set_payload(self, scope: Scope, payloads: Mapping[str, Mapping[str, Any]]) -> None:
        """Change what points carry, and embed nothing."""
        for some in _parts(list(payloads.items()), _CHANGES):
            self._change([_set(change_of(payload), _within(scope, ids=[one])) for one, payload in some])

    def payloads(self, scope: Scope, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """What those of the points that are there carry."""
        found = self._retrieved(ids, payload=True)
        return {str(one.id): one.payload or {} for one in found if sees(scope, one.payload)}

    def vectors(self, scope: Scope, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The dense vectors of those points that are there."""
        found = self._retrieved(ids, payload=[SCOPE, GROUPS], vectors=[DENSE])
        return {str(one.id): _dense(one) for one in found if sees(scope, one.payload)}

    def ids(self, scope: Scope) -> Iterator[tuple[str, bool]]:
        """Every point's id and whether it is listed."""
        for some in self._pages(scope, payload=[LISTED_IN]):
            for one in some:
                yield str(one.id), is_listed(scope, one.payload)

    def stored(self, scope: Scope) -> Iterator[list[StoredPoint]]:
        """Every point as it is kept, some at a time."""
        for some in self._pages(scope, payload=True, vectors=True):
            yield [StoredPoint(str(one.id), _dense(one), *_words(one), one.payload or {}) for one in some]

    def restore(self, scope: Scope, points: Sequence[StoredPoint]) -> None:
        """Write points as they were kept in another index."""
        self._write(
            [
                _point(one.id, one.vector, _sparse(*counted(one.word_ids, one.word_weights)), payload_in(scope, one))
                for one in points
            ]
        )

    def scopes(self) -> list[Scope]:
        """Every tenant and collection that has points."""
        hits = self._connection.ask(lambda client: client.facet(self._name, SCOPE, limit=1_000_000, exact=True)).hits
        return scopes_of({str(hit.value): hit.count for hit in hits})

    def count(self, scope: Scope) -> int:
        """Points in the scope, listed or not."""
        return self._connection.ask(lambda client: client.count(self._name, _within(scope), exact=True)).count

    def changes(self) -> int | None:
        """Not known: others write too."""
        return None

    def flush(self) -> None:
        """Nothing to do: the server has logged every write before it answers."""

    def optimise(self, *, force: bool = False) -> bool:
        """Nothing to do: the server optimises by itself."""
        return False

    def stop_optimising(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Let go of the connections."""
        self._connection.close()

    async def close_async(self) -> None:
        """Let go of the running event loop's connections."""
        await self._connection.close_async(asyncio.get_running_loop())

    def _asked(self, requests: Sequence[models.QueryRequest]) -> list[models.QueryResponse]:
        def ask() -> list[models.QueryResponse]:
            return self._connection.ask(lambda client: client.query_batch_points(self._name, requests))

        # In local mode requests come one after the other.
        return ask() if self._connection.is_local else self._swaps.undisturbed(ask)

    async def _asked_async(self, requests: Sequence[models.QueryRequest]) -> list[models.QueryResponse]:
        async def ask() -> list[models.QueryResponse]:
            return await self._connection.ask_async(
                asyncio.get_running_loop(), lambda client: client.query_batch_points(self._name, requests)
            )

        return await self._swaps.undisturbed_async(ask)

    def _legs(
        self, scope: Scope, text: str, vector: NDArray[np.float32], limit: int, with_payload: bool
    ) -> list[models.QueryRequest]:
        visible = models.Filter(must=_conditions(LISTED_IN, scope))
        legs = [_leg(vector.tolist(), DENSE, limit, visible, with_payload, self._dense_search)]
        words = self._bm25.embed_query(text)
        if words.indices:
            corpus = models.IdfCorpusParams(corpus=_within(scope))
            params = models.SearchParams(idf=corpus) if self._tenant_idf else None
            legs.append(_leg(_sparse(words.indices, words.values), LEXICAL, limit, visible, with_payload, params))
        return legs

    def _write(self, points: Sequence[models.PointStruct]) -> None:
        for some in _parts(points, _WRITTEN):
            self._connection.ask(methodcaller("upsert", self._name, list(some), wait=True))

    def _change(self, changes: Sequence[models.UpdateOperation]) -> None:
        if changes:
            self._connection.ask(lambda client: client.batch_update_points(self._name, changes, wait=True))

    def _retrieved(self, ids: Sequence[str], *, payload: Any, vectors: Any = False) -> Iterator[models.Record]:
        for some in _parts(ids, _READ):
            yield from self._connection.ask(
                methodcaller("retrieve", self._name, list(some), with_payload=payload, with_vectors=vectors)
            )

    def _pages(self, scope: Scope, *, payload: Any, vectors: Any = False) -> Iterator[list[models.Record]]:
        page = {"limit": _READ, "with_payload": payload, "with_vectors": vectors}
        offset: Any = None
        while True:
            ask = methodcaller("scroll", self._name, _within(scope), offset=offset, **page)
            records, offset = self._connection.ask(ask)
            yield records
            if offset is None:
                return


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _within(scope: Scope, *, ids: Sequence[str] | None = None) -> models.Filter:
    some = [] if ids is None else [models.HasIdCondition(has_id=list(ids))]
    return models.Filter(must=[*_conditions(SCOPE, scope), *some])


def _conditions(key: str, scope: Scope) -> list[Any]:
    ours = models.FieldCondition(key=key, match=models.MatchValue(value=scope_key(scope)))
    return [ours] if scope.groups is None else [ours, _readable(scope.groups)]


def _readable(groups: frozenset[str]) -> models.Filter:
    """Of no groups, or of one of these."""
    silent = models.IsEmptyCondition(is_empty=models.PayloadField(key=GROUPS))
    of_mine = models.FieldCondition(key=GROUPS, match=models.MatchAny(any=sorted(groups)))
    return models.Filter(should=[silent, *([of_mine] if groups else [])])


def _set(payload: dict[str, Any], where: models.Filter) -> models.SetPayloadOperation:
    return models.SetPayloadOperation(set_payload=models.SetPayload(payload=payload, filter=where))


def _leg(
    vector: Any,
    using: str,
    limit: int,
    visible: models.Filter,
    with_payload: bool,
    params: models.SearchParams | None = None,
) -> models.QueryRequest:
    return models.QueryRequest(
        query=models.NearestQuery(nearest=vector),
        using=using,
        limit=limit,
        filter=visible,
        with_payload=with_payload,
        params=params,
    )


def _dense_search(made: Quantization | None) -> models.SearchParams:
    smaller = models.QuantizationSearchParams(rescore=True, oversampling=made.oversampling) if made else None
    return models.SearchParams(hnsw_ef=HNSW_EF, quantization=smaller)


def _found(answers: Sequence[models.QueryResponse]) -> LegHits:
    dense, lexical = (*(answer.points for answer in answers), [])[:2]
    return LegHits(_hits(dense), _hits(lexical))


def _blended(legs: Sequence[models.QueryRequest], blend: Blend, most: int) -> models.QueryRequest:
    """Of legs that weigh alike. Each is filtered, and so is what is made of them."""
    rank = models.RrfQuery(rrf=models.Rrf(k=blend.counted_from_0))
    return models.QueryRequest(
        prefetch=[
            models.Prefetch(query=one.query, using=one.using, filter=one.filter, params=one.params, limit=one.limit)
            for one in legs
        ],
        query=rank if blend.way == "rrf" else models.FusionQuery(fusion=models.Fusion.DBSF),
        filter=legs[0].filter,
        limit=most,
        with_payload=True,
    )


def _of_all(answers: Sequence[models.QueryResponse], legs: int) -> Leg:
    """The server adds the legs' scores; shares of each are wanted."""
    return _hits(answers[0].points, 1 / legs)


def _hits(points: Sequence[models.ScoredPoint], share: float = 1.0) -> Leg:
    payloads = [point.payload or {} for point in points]
    return Leg([str(point.id) for point in points], [float(point.score) * share for point in points], payloads)


def _point(
    point_id: str, vector: NDArray[np.float32], words: models.SparseVector, payload: Mapping[str, Any]
) -> models.PointStruct:
    return models.PointStruct(id=point_id, vector={DENSE: vector.tolist(), LEXICAL: words}, payload=dict(payload))


def _sparse(word_ids: Sequence[int], weights: Sequence[float]) -> models.SparseVector:
    return models.SparseVector(indices=list(word_ids), values=list(weights))


def _dense(record: models.Record) -> NDArray[np.float32]:
    assert isinstance(record.vector, dict)
    return np.asarray(record.vector[DENSE], dtype=np.float32)


def _words(record: models.Record) -> tuple[list[int], list[float]]:
    words = record.vector.get(LEXICAL) if isinstance(record.vector, dict) else None
    return (words.indices, words.values) if isinstance(words, models.SparseVector) else ([], [])
