"""The embedded engine: Qdrant's own, in this process, owned by it alone.

One shard holds every tenant. The key `scope` (tenant and collection) is in every filter, and word statistics
(IDF) are counted within it, so that one tenant's vocabulary never shapes another's ranking.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import qdrant_edge as qdrant
from numpy.typing import NDArray

from ragsaver.errors import IndexLocked, RagSaverError, SettingsError, StorageError, UsageError
from ragsaver.index.identity import IndexIdentity, claim
from ragsaver.index.protocol import ChunkPoint, Hit, LegHits
from ragsaver.index.scope import Scope

T = TypeVar("T")

DENSE = "dense"
LEXICAL = "bm25"
LISTED = "listed"
UNLISTED = "unlisted"

# The engine writes through memory maps: a disk that fills up under one kills the process. So writes stop
# while this much is still free; the engine itself grows its files 32 MiB at a time.
RESERVE_BYTES = 128 * 1024 * 1024

_PAGE = 1000

# A swap takes milliseconds; a search that met one that takes longer answers with what it saw.
_TRIES, _SWAP_S = 20, 0.001


class EdgeIndex:
    """A `VectorIndex` on `qdrant_edge`.

    :param folder: where the shard lives; made if missing.
    :param identity: what its points are made with; checked against what is there.
    :param tenant_idf: count word statistics within the scope only.
    :param optimize_after_points: writes after which `maintain` optimises.
    :raises ModelMismatch: if another model built the index.
    :raises IndexLocked: if another process has it open.
    """

    def __init__(
        self,
        folder: Path,
        identity: IndexIdentity,
        *,
        tenant_idf: bool = True,
        optimize_after_points: int = 2000,
    ) -> None:
        self.folder = folder
        self._tenant_idf = tenant_idf
        self._optimize_after = optimize_after_points
        self._writes = 0
        self._unflushed = True  # what was there when it was opened may be in the log only
        self._swaps = 0  # odd while one is under way (a sequence lock: one writer, readers try again)
        self._maintenance = threading.Lock()
        self._bm25 = _bm25(identity)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"can't be written: {error.strerror}", where=str(folder)) from error
        claim(folder, identity)
        self._shard = self._open(folder / "shard", identity.dim)

    def search(
        self, scope: Scope, text: str, vector: NDArray[np.float32], limit: int, *, with_payload: bool = True
    ) -> LegHits:
        """Both legs in one planned batch; scores are cosine and BM25, as the engine gives them."""
        visible = _within(scope, LISTED)
        requests = [_leg(vector.tolist(), DENSE, limit, visible, with_payload)]
        words = self._bm25.embed_query(text)
        if words.indices:
            params = qdrant.SearchParams(idf=qdrant.IdfParams(corpus=visible)) if self._tenant_idf else None
            requests.append(_leg(words, LEXICAL, limit, visible, with_payload, params))
        answers = self._undisturbed(lambda: self._shard.query_batch(qdrant.QueryBatchRequest(requests)))
        dense, lexical = (*answers, [])[:2]
        return LegHits(_hits(dense), _hits(lexical))

    def upsert(self, scope: Scope, points: Sequence[ChunkPoint]) -> None:
        """Write points, unlisted."""
        if not points:
            return
        key = _scope_key(scope)
        batch = [
            qdrant.Point(
                point.id,
                {DENSE: point.vector.tolist(), LEXICAL: self._bm25.embed_document(point.lexical_text)},
                {**point.payload, "scope": key, "state": UNLISTED, "document_id": point.document_id},
            )
            for point in points
        ]
        self._update(qdrant.UpdateOperation.upsert_points(batch), len(points))

    def list_and_delete(self, scope: Scope, listed: Sequence[str], deleted: Sequence[str]) -> None:
        """Show new points and drop old ones; no search sees both, and ids of another scope are left alone."""
        self._swaps += 1
        try:
            if listed:
                show = qdrant.UpdateOperation.set_payload_by_filter(_within(scope, ids=listed), {"state": LISTED})
                self._update(show, len(listed))
            if deleted:
                drop = qdrant.UpdateOperation.delete_points_by_filter(_within(scope, ids=deleted))
                self._update(drop, len(deleted), frees=True)
        finally:
            self._swaps += 1

    def set_payload(self, scope: Scope, payloads: Mapping[str, Mapping[str, Any]]) -> None:
        """Change what points carry, and embed nothing."""
        for point_id, payload in payloads.items():
            change = qdrant.UpdateOperation.set_payload_by_filter(_within(scope, ids=[point_id]), dict(payload))
            self._update(change, 1)

    def payloads(self, scope: Scope, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """What those of the points that are there carry."""
        records = self._ask(lambda: self._shard.retrieve(list(ids), with_payload=True, with_vector=False))
        key = _scope_key(scope)
        return {
            str(record.id): record.payload for record in records if record.payload and record.payload["scope"] == key
        }

    def vectors(self, scope: Scope, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The dense vectors of those points that are there."""
        request = qdrant.ScrollRequest(
            limit=max(len(ids), 1), filter=_within(scope, ids=ids), with_vector=[DENSE], with_payload=False
        )
        records, _ = self._ask(lambda: self._shard.scroll(request))
        found: dict[str, NDArray[np.float32]] = {}
        for record in records:
            if isinstance(record.vector, dict):
                found[str(record.id)] = np.asarray(record.vector[DENSE], dtype=np.float32)
        return found

    def ids(self, scope: Scope) -> Iterator[tuple[str, bool]]:
        """Every point's id and whether it is listed."""
        offset: Any = None
        while True:
            request = qdrant.ScrollRequest(
                offset=offset, limit=_PAGE, filter=_within(scope), with_payload=["state"], with_vector=False
            )
            records, offset = self._ask(partial(self._shard.scroll, request))
            for record in records:
                yield str(record.id), (record.payload or {}).get("state") == LISTED
            if offset is None:
                return

    def scopes(self) -> list[Scope]:
        """Every tenant and collection that has points."""
        request = qdrant.FacetRequest("scope", limit=1_000_000, exact=True)
        hits = self._ask(lambda: self._shard.facet(request)).hits
        return sorted(
            (Scope(*_facet_text(hit.value).split("/", 1)) for hit in hits if hit.count),
            key=lambda scope: (scope.tenant, scope.collection),
        )

    def count(self, scope: Scope) -> int:
        """Points in the scope, listed or not."""
        return self._ask(lambda: self._shard.count(qdrant.CountRequest(exact=True, filter=_within(scope))))

    def maintain(self, *, force: bool = False) -> bool:
        """Flush, and optimise if enough was written since the last time; one at a time."""
        with self._maintenance:
            if self._unflushed:
                self._unflushed = False
                self._ask(self._shard.flush)
            if not force and self._writes < self._optimize_after:
                return False
            self._require_space()
            self._writes = 0
            return self._ask(self._shard.optimize)

    def close(self) -> None:
        """Flush, and let go of the shard."""
        with self._maintenance:
            self._ask(self._shard.flush)
            self._shard.close()

    def _open(self, path: Path, dim: int) -> qdrant.EdgeShard:
        config = qdrant.EdgeConfig(
            vectors={DENSE: qdrant.EdgeVectorParams(dim, qdrant.Distance.Dot)},
            sparse_vectors={LEXICAL: qdrant.EdgeSparseVectorParams(modifier=qdrant.Modifier.Idf)},
        )
        if (path / "segments").exists():
            return self._ask(lambda: qdrant.EdgeShard.load(str(path), config))
        self._require_space()
        shutil.rmtree(path, ignore_errors=True)  # a creation that was cut short left no segment
        path.mkdir(parents=True)
        shard = self._ask(lambda: qdrant.EdgeShard.create(str(path), config))
        for key, schema in (
            ("scope", qdrant.KeywordIndexParams(is_tenant=True)),
            ("state", qdrant.PayloadSchemaType.Keyword),
            ("document_id", qdrant.PayloadSchemaType.Keyword),
        ):
            shard.update(qdrant.UpdateOperation.create_field_index(key, schema))
        return shard

    def _update(self, operation: qdrant.UpdateOperation, points: int, *, frees: bool = False) -> None:
        if not frees:
            self._require_space()
        self._ask(lambda: self._shard.update(operation))
        self._unflushed = True
        self._writes += points

    def _undisturbed(self, call: Callable[[], T]) -> T:
        """What a read gives when no swap of versions came between its beginning and its end."""
        for _ in range(_TRIES):
            before = self._swaps
            answer = self._ask(call)
            if before == self._swaps and before % 2 == 0:
                return answer
            time.sleep(_SWAP_S)
        return answer

    def _require_space(self) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < RESERVE_BYTES:
            raise StorageError(
                f"only {free // 2**20} MiB are free on the disk, {RESERVE_BYTES // 2**20} MiB are needed to write",
                where=str(self.folder),
                remedy="Free some space and run the command again: what is in the index stays",
            )

    def _ask(self, call: Callable[[], T]) -> T:
        """The engine has one exception for everything: say what it means."""
        try:
            return call()
        except RagSaverError:
            raise
        except Exception as error:
            raise _explain(error, self.folder) from error


def _explain(error: Exception, folder: Path) -> RagSaverError:
    text = str(error)
    if "WouldBlock" in text:
        return IndexLocked(
            "the index is open in another process", where=str(folder), remedy="Wait for it to end, or stop it"
        )
    if "No space left" in text:
        return StorageError("the disk is full", where=str(folder), remedy="Free some space and run it again")
    return StorageError(
        f"the index failed: {text}", where=str(folder), remedy="`ragsaver verify` checks and repairs it"
    )


def _bm25(identity: IndexIdentity) -> qdrant.Bm25:
    try:
        return qdrant.Bm25(qdrant.Bm25Config(language=identity.language, avg_len=identity.bm25_avg_words))
    except ValueError as error:
        raise SettingsError(f"`index.language` is not known: {error}", where="settings") from error


def _scope_key(scope: Scope) -> str:
    if not scope.tenant or not scope.collection or "/" in scope.tenant or "/" in scope.collection:
        raise UsageError(
            f"`{scope.tenant}` / `{scope.collection}` can't name a tenant and a collection",
            remedy="Use letters, digits, dots, dashes and underscores",
        )
    return f"{scope.tenant}/{scope.collection}"


def _within(scope: Scope, state: str | None = None, *, ids: Sequence[str] | None = None) -> qdrant.Filter:
    must: list[Any] = [qdrant.FieldCondition("scope", match=qdrant.MatchValue(_scope_key(scope)))]
    if state is not None:
        must.append(qdrant.FieldCondition("state", match=qdrant.MatchValue(state)))
    if ids is not None:
        must.append(qdrant.HasIdCondition(set(ids)))
    return qdrant.Filter(must=must)


def _leg(
    vector: Any,
    using: str,
    limit: int,
    visible: qdrant.Filter,
    with_payload: bool,
    params: qdrant.SearchParams | None = None,
) -> qdrant.QueryRequest:
    return qdrant.QueryRequest(
        limit,
        query=qdrant.Query.Nearest(vector, using=using),
        filter=visible,
        with_payload=with_payload,
        params=params,
    )


def _hits(points: Sequence[qdrant.ScoredPoint]) -> tuple[Hit, ...]:
    return tuple(Hit(str(point.id), float(point.score), point.payload or {}) for point in points)


def _facet_text(value: Any) -> str:
    return str(value if isinstance(value, str) else getattr(value, "value", value))
