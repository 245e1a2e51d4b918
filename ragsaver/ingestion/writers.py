"""Who may change a tenant's documents now? With an embedded index its owner; with one in a server all take turns.

A turn is a tenant's: quotas count all its collections, and an unfinished change of another process must not be taken
for one that a stop left half done. It ends with the process that has it, however that ends. Who puts another index in
the place of the one in use keeps all others from writing, and has them look, once they may again, which one that is.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
import xxhash
from filelock import FileLock, Timeout
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from ragsaver.database import Place
from ragsaver.errors import RUN_AGAIN, IndexLocked, IndexMoved, StorageError
from ragsaver.index.manifest_place import manifest_place, place_in_use
from ragsaver.postgres import PostgresSchema, place_of, told
from ragsaver.postgres_driver import open_server
from ragsaver.settings import Settings

# Another process brings in a batch, or a command's documents.
_PATIENCE_S = 60.0
_LOOK_AGAIN_S = 0.1
_GATE_S = 0.5  # others have it for an instant

_GATE, _TENANTS_FILE = "writing.lock", "writing-{}.lock"


class Writers(Protocol):
    """Those who change documents, one at a time."""

    def turn(self, tenant: str, *, patience_s: float = _PATIENCE_S) -> AbstractContextManager[None]:
        """Nobody else changes the tenant's documents during the code inside; a thread may nest it.

        :raises IndexLocked: if another process does, for longer than `patience_s`.
        :raises IndexMoved: if another index is in use by now.
        """
        ...

    def still(self, tenant: str) -> None:
        """Ask whether the turn is ours yet, before what can't be undone.

        :raises StorageError: if it was lost: another process may have undone what is not committed.
        """
        ...

    def one_of_ours(self) -> AbstractContextManager[object]:
        """No other thread of this process has a turn during the code inside."""
        ...

    def close(self) -> None:
        """Let go; no thread has a turn any more."""
        ...


class Alone:
    """The writers of an index that this process owns: its threads.

    :param owned: raises if the process owns it no more.
    """

    def __init__(self, owned: Callable[[], None] = lambda: None) -> None:
        self._ours = threading.RLock()
        self._owned = owned

    @contextmanager
    def turn(self, tenant: str, *, patience_s: float = _PATIENCE_S) -> Iterator[None]:
        """One thread at a time.

        :raises StorageError: if this process owns the index no more.
        """
        with self._ours:
            self._owned()
            yield

    def still(self, tenant: str) -> None:
        """Nobody else could take it, but what is written may be gone.

        :raises StorageError: if this process owns the index no more.
        """
        self._owned()

    def one_of_ours(self) -> AbstractContextManager[object]:
        """As a turn."""
        return self._ours

    def close(self) -> None:
        """Nothing to let go of."""


class Lock(Protocol):
    """A lock that processes share."""

    def acquire(self, patience_s: float) -> bool:
        """Take it; false if it can't be had in time."""
        ...

    def ask(self) -> None:
        """:raises StorageError: if it was lost."""
        ...

    def release(self) -> None:
        """Let go of it."""
        ...


class Turns:
    """The writers of an index that processes share.

    :param place: of the manifest, whose writers take turns.
    :param in_use: says where the manifest is that everybody works with now.
    """

    def __init__(self, place: Place, in_use: Callable[[], Place]) -> None:
        self._place = place
        self._in_use = in_use
        self._ours = threading.RLock()
        self._held: dict[str, Lock] = {}

    @contextmanager
    def turn(self, tenant: str, *, patience_s: float = _PATIENCE_S) -> Iterator[None]:
        """One thread of one process at a time."""
        with self._ours:
            if tenant in self._held:
                yield
                return
            lock = self._lock(tenant)
            if not lock.acquire(patience_s):
                raise IndexLocked(
                    f"another process changes the documents of tenant `{tenant}`",
                    where="the index in the server",
                    remedy="Wait for it to end, or stop it: what is in stays",
                )
            try:
                if self._in_use() != self._place:
                    raise IndexMoved(
                        "another index is in use by now, `ragsaver migrate` has put it in place",
                        where="the index in the server",
                        remedy=f"{RUN_AGAIN}. A server or worker moves to it by itself; where it does not, its log "
                        "says why",
                    )
                self._held[tenant] = lock
                yield
            finally:
                self._held.pop(tenant, None)
                lock.release()

    @contextmanager
    def everybody(self) -> Iterator[Callable[[], None]]:
        """No process changes anything during the code inside; waits until all that do so are done.

        What it gives asks whether that holds yet, and raises `StorageError` if it was lost.
        """
        place = self._place
        with self._ours, _all_files(place) if isinstance(place, Path) else _all_in_postgres(place) as still:
            yield still

    def still(self, tenant: str) -> None:
        """Ask whoever keeps the lock; outside a turn there is nothing to ask."""
        if tenant in self._held:
            self._held[tenant].ask()

    def one_of_ours(self) -> AbstractContextManager[object]:
        """No turn of another thread."""
        return self._ours

    def close(self) -> None:
        """Nothing to let go of: a turn is over by now."""

    def _lock(self, tenant: str) -> Lock:
        name = xxhash.xxh3_64_hexdigest(tenant.encode())
        if isinstance(self._place, Path):
            return _InFile(self._place.with_name(_TENANTS_FILE.format(name)))
        return _InPostgres(self._place, tenant)


class _InFile:
    """A file of the tenant's, taken while the gate is, so that whoever keeps the gate sees no new ones taken."""

    def __init__(self, file: Path) -> None:
        self._gate = FileLock(file.with_name(_GATE))
        self._lock = FileLock(file)

    def acquire(self, patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        try:
            while not self._taken():
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_LOOK_AGAIN_S)
        except OSError as error:
            raise StorageError(
                f"can't be written: {error.strerror or error}",
                where=self._lock.lock_file,
                remedy="Set RAGSAVER_HOME to a folder that you own and that has space",
            ) from error
        return True

    def _taken(self) -> bool:
        try:
            with self._gate.acquire(timeout=_GATE_S):
                self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def ask(self) -> None:
        """The system keeps it as long as this process lives."""

    def release(self) -> None:
        self._lock.release()


@contextmanager
def _all_files(place: Path) -> Iterator[Callable[[], None]]:
    """The gate, and every tenant's file that was ever taken."""
    with ExitStack() as held:
        held.enter_context(FileLock(place.with_name(_GATE)))
        for file in place.parent.glob(_TENANTS_FILE.format("*")):
            held.enter_context(FileLock(file))
        yield lambda: None  # the system keeps them as long as this process lives


class _InPostgres:
    """Locks of a session, which end with its connection: one that all writers share, and the tenant's."""

    def __init__(self, schema: PostgresSchema, tenant: str) -> None:
        self._session = _Session(schema)
        self._all, self._key = _key(schema.name), _key(f"{schema.name}/{tenant}")

    def acquire(self, patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        while not self._taken():
            if time.monotonic() >= deadline:
                self.release()
                return False
            time.sleep(_LOOK_AGAIN_S)
        return True

    def _taken(self) -> bool:
        if not self._session.ask(sa.func.pg_try_advisory_lock_shared(self._all)):
            return False
        if self._session.ask(sa.func.pg_try_advisory_lock(self._key)):
            return True
        self._session.ask(sa.func.pg_advisory_unlock_shared(self._all))
        return False

    def ask(self) -> None:
        self._session.still()

    def release(self) -> None:
        self._session.close()


@contextmanager
def _all_in_postgres(schema: PostgresSchema) -> Iterator[Callable[[], None]]:
    """The lock that all writers share, for one alone; who waits for it lets no new ones take it."""
    session = _Session(schema)
    try:
        session.ask(sa.func.pg_advisory_lock(_key(schema.name)))
        yield session.still
    finally:
        session.close()


@contextmanager
def one_on_all_machines(schema: PostgresSchema, name: str) -> Iterator[bool]:
    """A lock of that name for the code inside; false if somebody has it."""
    session = _Session(schema)
    try:
        yield bool(session.ask(sa.func.pg_try_advisory_lock(_key(f"{schema.name} {name}"))))
    finally:
        session.close()


class _Session:
    """A connection for the locks that it has."""

    def __init__(self, schema: PostgresSchema) -> None:
        self._schema = schema
        self._engine = open_server(schema.url)
        self._connection: sa.Connection | None = None

    def ask(self, what: sa.ColumnElement[Any]) -> Any:
        try:
            if self._connection is None:
                self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            return self._connection.scalar(sa.select(what))
        except (DBAPIError, OSError) as error:
            self.close()
            raise told(error, "the right to write can't be had", self._schema.address()) from error

    def still(self) -> None:
        assert self._connection is not None
        try:
            self._connection.scalar(sa.select(1))
        except (DBAPIError, OSError, PendingRollbackError) as error:
            raise StorageError(
                "the connection that keeps others from writing was lost",
                where=place_of(self._schema.address()),
                remedy="Run it again: what was not committed is done anew, from the embedding cache",
            ) from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
        self._engine.dispose()


def _key(name: str) -> sa.ColumnElement[int]:
    return sa.literal(xxhash.xxh3_64_intdigest(name.encode()) - 2**63, sa.BigInteger)


def open_writers(
    settings: Settings, store: Path, manifest_at: Place | None = None, owned: Callable[[], None] = lambda: None
) -> Writers:
    """The writers of the index that the settings name.

    :param store: the folder of the manifest.
    :param manifest_at: where that is; asked for now if None.
    :param owned: raises if the process does not own the index any more, where one does.
    """
    return turns(settings, store, manifest_at) if settings.index.shared else Alone(owned)


def turns(settings: Settings, store: Path, manifest_at: Place | None = None) -> Turns:
    """Those who write to an index in a server by this manifest, whatever engine the settings name."""
    return Turns(manifest_at or manifest_place(settings, store), partial(place_in_use, settings))
