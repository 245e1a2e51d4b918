"""The embedded engine: Qdrant's own, in this process, owned by it alone.

One shard holds every tenant. Tenant and collection are in every filter; only where no point of another scope is there
at all, a search has none. A file names the points that are not listed yet, and searches leave those out (see
`sight.py`). Word statistics (IDF) are counted within the scope and within what the reader's groups may read, so that
nobody else's vocabulary shapes a ranking (see `corpus.py`). Unlisted points count as well: leaving them out takes twice
the time.
"""

import shutil
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import methodcaller
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import qdrant_edge as qdrant
from numpy.typing import NDArray

from ragsaver.errors import RagSaverError, StorageError
from ragsaver.index.corpus import Corpus, sole_of
from ragsaver.index.edge_config import dense_search, edge_config, index_payload, take_over
from ragsaver.index.edge_errors import explained
from ragsaver.index.edge_payload import packed
from ragsaver.index.edge_requests import (
    NAMES_GROUPS,
    new_point,
    point_again,
    scope_keys,
    stored_point,
    there,
    told,
    within,
)
from ragsaver.index.edge_searches import SearchedShard
from ragsaver.index.identity import IndexIdentity, claim
from ragsaver.index.keys import (
    DENSE,
    GROUPS,
    LISTED_IN,
    change_of,
    scopes_of,
    sees,
)
from ragsaver.index.optimising import copier, optimised
from ragsaver.index.protocol import ChunkPoint, StoredPoint
from ragsaver.index.quantization import Quantization
from ragsaver.index.room import Room
from ragsaver.index.scope import Scope
from ragsaver.index.shard import EMPTY, Held, Pointer, PointerFile, discard_others, following
from ragsaver.index.sight import Sight
from ragsaver.index.swaps import Swaps
from ragsaver.index.unlisted import UnlistedFile
from ragsaver.index.words import word_encoder

T = TypeVar("T")

# The engine writes through memory maps: a disk that fills up under one kills the process. So writes stop
# while this much is still free; the engine itself grows its files 32 MiB at a time.
RESERVE_BYTES = 128 * 1024 * 1024

_PAGE = 1000


class EdgeIndex(SearchedShard):
    """A `VectorIndex` on `qdrant_edge`.

    :param folder: where the shard lives; made if missing.
    :param identity: what its points are made with; checked against what is there.
    :param tenant_idf: count word statistics within the scope only.
    :param optimize_after_points: fewer writes are not worth optimising for.
    :param quantization: of the vectors, from the next optimisation on.
    :ivar words: how BM25 sees texts.
    :raises ModelMismatch: if another model built the index.
    :raises IndexLocked: if another process has it open.
    """

    def __init__(
        self,
        folder: Path,
        identity: IndexIdentity,
        *,
        tenant_idf: bool = True,
        optimize_after_points: int = 10_000,
        quantization: Quantization | None = None,
    ) -> None:
        self.folder = folder
        self._tenant_idf = tenant_idf
        self._optimize_after = optimize_after_points
        self._dense_search = dense_search(quantization)
        self._unflushed = True  # what was there when it was opened may be in the log only
        self._changes = 0
        self._swaps = Swaps()
        self._writing = threading.RLock()
        self._optimising = threading.Lock()
        self._stop = threading.Event()
        self._touched: set[str] | None = None  # points written since the shard was copied to be optimised
        self.words = identity.words
        self._bm25 = word_encoder(identity.words)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"can't be written: {error.strerror}", where=str(folder)) from error
        claim(folder, identity)
        self._config = edge_config(identity.dim, quantization)
        self._room = Room(folder)
        self._pointer = PointerFile(folder)
        self._unlisted = UnlistedFile(folder)
        self._shard = Held(self._open(folder / self._pointer.now.name))
        discard_others(folder, self._pointer.now.name)
        with self._shard.use() as shard:
            scopes = scope_keys(shard)
            self._writes = abs(self._ask(shard.info).points_count - self._pointer.now.optimised_points)
            grouped = scope_keys(shard, NAMES_GROUPS)
            self._unlisted.keep(there(shard, {one for ids in self._unlisted.now.values() for one in ids}))
            self._sight = Sight(sole_of(scopes, grouped), self._unlisted)
        self._corpus = Corpus(grouped, self._pointer)

    def upsert(self, scope: Scope, points: Sequence[ChunkPoint]) -> None:
        """Write points, unlisted."""
        if not points:
            return
        self._note(scope, [point.payload for point in points])
        self._sight.comes(scope, [point.id for point in points])
        batch = [new_point(scope, point, self.words) for point in points]
        self._update(qdrant.UpdateOperation.upsert_points(batch), [point.id for point in points])

    def list_and_delete(self, scope: Scope, listed: Sequence[str], deleted: Sequence[str]) -> None:
        """Show new points and drop old ones; no search sees both, and ids of another scope are left alone."""
        if scope.groups is not None:
            listed, deleted = list(self.payloads(scope, listed)), list(self.payloads(scope, deleted))
        with self._swaps.swap():
            if listed:
                self._sight.listed(scope, listed)
                with self._writing:
                    self._changes += 1
            if deleted:
                self._leave(deleted)
                drop = qdrant.UpdateOperation.delete_points_by_filter(within(scope, ids=deleted))
                self._update(drop, deleted, frees=True)
                self._sight.listed(scope, deleted)

    def set_payload(self, scope: Scope, payloads: Mapping[str, Mapping[str, Any]]) -> None:
        """Change what points carry, and embed nothing."""
        if not payloads:
            return
        self._note(scope, payloads.values())
        self._leave(payloads)
        with self._writing:  # what is carried is one text, of which nobody else may change another part meanwhile
            for point_id, carried in self.payloads(scope, list(payloads)).items():
                changed = packed({**carried, **change_of(payloads[point_id])})
                wanted = within(scope, ids=[point_id])
                self._update(qdrant.UpdateOperation.set_payload_by_filter(wanted, changed), [point_id])

    def payloads(self, scope: Scope, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """What those of the points that are there carry."""
        records = self._read(lambda shard: shard.retrieve(list(ids), with_payload=True, with_vector=False))
        coming = self._sight.coming(scope)
        found: dict[str, Mapping[str, Any]] = {}
        for one in records:
            payload = one.payload  # which is taken over from the engine anew each time
            if sees(scope, payload):
                point_id = str(one.id)
                found[point_id] = told(scope, payload, coming=point_id in coming)
        return found

    def vectors(self, scope: Scope, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The dense vectors of those points that are there."""
        request = qdrant.ScrollRequest(
            limit=max(len(ids), 1), filter=within(scope, ids=ids), with_vector=[DENSE], with_payload=False
        )
        records, _ = self._read(lambda shard: shard.scroll(request))
        found: dict[str, NDArray[np.float32]] = {}
        for record in records:
            if isinstance(vector := record.vector, dict):
                found[str(record.id)] = np.asarray(vector[DENSE], dtype=np.float32)
        return found

    def ids(self, scope: Scope) -> Iterator[tuple[str, bool]]:
        """Every point's id and whether it is listed."""
        for records in self._pages(scope, payload=False):
            coming = self._sight.coming(scope)
            for record in records:
                yield str(record.id), str(record.id) not in coming

    def stored(self, scope: Scope) -> Iterator[list[StoredPoint]]:
        """Every point as it is kept, some at a time."""
        for records in self._pages(scope, payload=True, vectors=True):
            coming = self._sight.coming(scope)
            yield [stored_point(scope, record, coming) for record in records]

    def restore(self, scope: Scope, points: Sequence[StoredPoint]) -> None:
        """Write points as they were kept in another index."""
        if not points:
            return
        self._note(scope, [one.payload for one in points])
        listed = {one.id for one in points if LISTED_IN in one.payload}
        self._sight.comes(scope, [one.id for one in points if one.id not in listed])
        batch = [point_again(scope, one) for one in points]
        self._update(qdrant.UpdateOperation.upsert_points(batch), [one.id for one in points])
        self._sight.listed(scope, listed)

    def scopes(self) -> list[Scope]:
        """Every tenant and collection that has points."""
        return scopes_of(self._read(scope_keys))

    def count(self, scope: Scope) -> int:
        """Points in the scope, listed or not."""
        return self._read(lambda shard: shard.count(qdrant.CountRequest(exact=True, filter=within(scope))))

    def changes(self) -> int:
        """How often it was written to since it was opened."""
        return self._changes

    def flush(self) -> None:
        """Make what was written last."""
        with self._writing:
            if self._unflushed:
                self._unflushed = False
                self._read(lambda shard: shard.flush())

    def optimise(self, *, force: bool = False) -> bool:
        """Search faster from now on, if enough was written since the last time: a quarter of all, and not too little.

        Takes minutes with a large index, and as much of the disk again; questions and writes go on meanwhile.

        :returns: whether it was done.
        :raises StorageError: if it can't be done; the index stays as it is.
        """
        with self._optimising:
            if self._stop.is_set() or not (force or self._is_due()):
                return False
            name = following(self._pointer.now.name)
            try:
                if not (self._copied(self.folder / name) and optimised(self.folder / name, self._stop)):
                    return False
                self._put_in_place(name)
                return True
            except StorageError:
                self._writes = 0  # not again before as much was written once more
                raise
            finally:
                self._touched = None
                discard_others(self.folder, self._pointer.now.name)

    def stop_optimising(self) -> None:
        """End an optimisation that is under way, and begin none any more."""
        self._stop.set()

    def close(self) -> None:
        """Flush, and let go of the shard."""
        self.stop_optimising()
        with self._optimising, self._writing:
            self.flush()
            self._shard.close()
            self._room.closed()

    def _note(self, scope: Scope, payloads: Iterable[Mapping[str, Any]]) -> None:
        grouped = any(payload.get(GROUPS) for payload in payloads)
        with self._writing:
            self._corpus.note(scope, grouped=grouped)
            self._sight.written(scope, grouped=grouped)

    def _leave(self, points: Collection[str]) -> None:
        with self._writing:
            self._corpus.leave(len(points))

    def _is_due(self) -> bool:
        points = self._read(lambda shard: shard.info()).points_count
        return self._writes >= max(self._optimize_after, points // 4)

    def _copied(self, to: Path) -> bool:
        held = self.folder / self._pointer.now.name
        self._require_space(sum(file.stat().st_size for file in held.rglob("*") if file.is_file()))
        with copier(held, to) as copied, self._writing:
            self.flush()
            done = copied(self._stop)
            self._touched = set()
            return done

    def _put_in_place(self, name: str) -> None:
        """The optimised copy takes the shard's place, with what was written since it was taken."""
        shard = self._ask(lambda: qdrant.EdgeShard.load(str(self.folder / name), self._config))
        with self._writing:
            touched = sorted(self._touched or ())
            for start in range(0, len(touched), _PAGE):
                self._bring_up_to_date(shard, touched[start : start + _PAGE])
            self._ask(shard.flush)
            sole = self._ask(lambda: sole_of(scope_keys(shard), scope_keys(shard, NAMES_GROUPS)))
            points = self._ask(shard.info).points_count
            # From here on the old one may be discarded.
            self._pointer.write(Pointer(name, points, left_behind=len(touched)))
            self._writes = len(touched)
            self._touched = None
            self._ask(lambda: self._shard.replace(shard))
            self._pointer.write(replace(self._pointer.now, sole=sole))
            self._corpus.leave(0)  # no sole one, if too much was written meanwhile
            self._sight.counted(sole)

    def _bring_up_to_date(self, shard: qdrant.EdgeShard, ids: Sequence[str]) -> None:
        records = self._read(lambda old: old.retrieve(list(ids), with_payload=True, with_vector=True))
        points = [qdrant.Point(one.id, one.vector or {}, one.payload) for one in records]
        there = {str(one.id) for one in records}
        gone: list[Any] = [one for one in ids if one not in there]
        self._ask(lambda: shard.update(qdrant.UpdateOperation.upsert_points(points)))
        if gone:
            self._ask(lambda: shard.update(qdrant.UpdateOperation.delete_points(gone)))

    def _pages(self, scope: Scope, *, payload: Any, vectors: Any = False) -> Iterator[list[qdrant.Record]]:
        offset: Any = None
        while True:
            request = qdrant.ScrollRequest(
                offset=offset, limit=_PAGE, filter=within(scope), with_payload=payload, with_vector=vectors
            )
            records, offset = self._read(methodcaller("scroll", request))
            yield records
            if offset is None:
                return

    def _open(self, path: Path) -> qdrant.EdgeShard:
        if (path / "segments").exists():
            if self._room.left_unclosed:
                self._require_space()
            shard = self._ask(lambda: qdrant.EdgeShard.load(str(path), self._config))
            index_payload(shard)
            self._ask(lambda: take_over(shard, self._unlisted.join))
            return shard
        self._require_space()
        shutil.rmtree(path, ignore_errors=True)  # a creation that was cut short left no segment
        path.mkdir(parents=True)
        self._room.mark()
        shard = self._ask(lambda: qdrant.EdgeShard.create(str(path), self._config))
        index_payload(shard)
        self._pointer.write(replace(self._pointer.now, sole=EMPTY))
        return shard

    def _update(self, operation: qdrant.UpdateOperation, points: Sequence[str], *, frees: bool = False) -> None:
        if not frees:
            self._require_space()
        with self._writing:
            self._room.mark()
            try:
                self._read(lambda shard: shard.update(operation))
            finally:  # what failed may be there in part
                self._changes += 1
            self._unflushed = True
            self._writes += len(points)
            if self._touched is not None:
                self._touched.update(points)

    def _read(self, call: Callable[[qdrant.EdgeShard], T]) -> T:
        with self._shard.use() as shard:
            return self._ask(lambda: call(shard))

    def _require_space(self, more_bytes: int = 0) -> None:
        self._room.require(RESERVE_BYTES + more_bytes)

    def _ask(self, call: Callable[[], T]) -> T:
        """The engine has one exception for everything: say what it means."""
        try:
            return call()
        except RagSaverError:
            raise
        except Exception as error:
            raise explained(error, self.folder) from error
