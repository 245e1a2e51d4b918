"""Who may change a tenant's documents now? With an embedded index its owner; with one in a server all take turns.

A turn is a tenant's: quotas count all its collections, and an unfinished change of another process must not be taken
for one that a stop left half done. It ends with the process that has it, however that ends.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
import xxhash
from filelock import FileLock, Timeout
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from ragsaver.errors import IndexLocked, StorageError
from ragsaver.ingestion.opening import manifest_place
from ragsaver.postgres import PostgresSchema, place_of, told
from ragsaver.postgres_driver import open_server
from ragsaver.settings import Settings

# Another process brings in a batch, or a command's documents.
_PATIENCE_S = 60.0
_LOOK_AGAIN_S = 0.1


class Writers(Protocol):
    """Those who change documents, one at a time."""

    def turn(self, tenant: str, *, patience_s: float = _PATIENCE_S) -> AbstractContextManager[None]:
        """Nobody else changes the tenant's documents during the code inside; a thread may nest it.

        :raises IndexLocked: if another process does, for longer than `patience_s`.
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
    """The writers of an index that this process owns: its threads."""

    def __init__(self) -> None:
        self._ours = threading.RLock()

    @contextmanager
    def turn(self, tenant: str, *, patience_s: float = _PATIENCE_S) -> Iterator[None]:
        """One thread at a time."""
        with self._ours:
            yield

    def still(self, tenant: str) -> None:
        """Nobody else could take it."""

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
    """

    def __init__(self, place: Path | PostgresSchema) -> None:
        self._place = place
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
            self._held[tenant] = lock
            try:
                yield
            finally:
                del self._held[tenant]
                lock.release()

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
            return _InFile(self._place.with_name(f"writing-{name}.lock"))
        return _InPostgres(self._place, tenant)


class _InFile:
    def __init__(self, file: Path) -> None:
        self._lock = FileLock(file)

    def acquire(self, patience_s: float) -> bool:
        try:
            self._lock.acquire(timeout=patience_s)
        except Timeout:
            return False
        except OSError as error:
            raise StorageError(
                f"can't be written: {error.strerror or error}",
                where=self._lock.lock_file,
                remedy="Set RAGSAVER_HOME to a folder that you own and that has space",
            ) from error
        return True

    def ask(self) -> None:
        """The system keeps it as long as this process lives."""

    def release(self) -> None:
        self._lock.release()


class _InPostgres:
    """A lock of a session, which ends with its connection."""

    def __init__(self, schema: PostgresSchema, tenant: str) -> None:
        self._schema = schema
        self._key = sa.literal(xxhash.xxh3_64_intdigest(f"{schema.name}/{tenant}".encode()) - 2**63, sa.BigInteger)
        self._engine = open_server(schema.url)
        self._connection: sa.Connection | None = None

    def acquire(self, patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        try:
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            while not self._connection.scalar(sa.select(sa.func.pg_try_advisory_lock(self._key))):
                if time.monotonic() >= deadline:
                    self.release()
                    return False
                time.sleep(_LOOK_AGAIN_S)
        except (DBAPIError, OSError) as error:
            self.release()
            raise told(error, "the right to write can't be had", self._schema.address()) from error
        return True

    def ask(self) -> None:
        assert self._connection is not None
        try:
            self._connection.scalar(sa.select(1))
        except (DBAPIError, OSError, PendingRollbackError) as error:
            raise StorageError(
                "the connection that keeps others from writing was lost",
                where=place_of(self._schema.address()),
                remedy="Run it again: what was not committed is done anew, from the embedding cache",
            ) from error

    def release(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
        self._engine.dispose()


def open_writers(settings: Settings, store: Path) -> Writers:
    """The writers of the index that the settings name.

    :param store: the folder of the manifest.
    """
    return turns(settings, store) if settings.index.shared else Alone()


def turns(settings: Settings, store: Path) -> Turns:
    """Those who write to an index in a server by this manifest, whatever engine the settings name."""
    return Turns(manifest_place(settings, store))
