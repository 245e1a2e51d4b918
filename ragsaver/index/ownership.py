"""Who holds the embedded index? One process at a time, and the others can find out where it listens.

An index in a server is nobody's: who writes it takes turns (`ingestion.writers`).
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ragsaver.errors import IndexLocked, StorageError

LOCK_FILE = "owner.lock"
OWNER_FILE = "owner.json"

SERVES = "ragsaver serve"
APPLIES = "ragsaver worker --apply"

_GRACE_S = 1.0  # a process that only looks holds the lock for an instant
_STARTING_S = 60.0  # a server that has the lock tells its address within this
_LOOK_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds the index; `url` and `token` are set while it serves."""

    pid: int
    role: str
    url: str | None = None
    token: str | None = None


class Ownership:
    """The right to open the index under `home`, held until `release` or the process's end.

    :param lock: None where the index is shared, and nobody is kept out.
    """

    def __init__(self, home: Path, role: str, lock: FileLock | None) -> None:
        self.home = home
        self.role = role
        self._lock = lock
        self._file = None if lock is None else _file_at(home)

    @classmethod
    def acquire(cls, home: Path, role: str) -> "Ownership":
        """Take the index under `home`.

        :param role: what the owner is doing, for others' error messages: `ragsaver serve`.
        :raises IndexLocked: if another process holds it.
        :raises StorageError: if `home` can't be written.
        """
        lock = FileLock(home / LOCK_FILE)
        try:
            with _writable(home):
                home.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=_GRACE_S)
        except Timeout:
            raise locked_by(_read_owner(home), home) from None
        ownership = cls(home, role, lock)
        ownership._write(Owner(os.getpid(), role))
        return ownership

    @classmethod
    def of(cls, home: Path, role: str, *, shared: bool) -> "Ownership":
        """As `acquire`; of an index that all share, the same right as everybody's."""
        if not shared:
            return cls.acquire(home, role)
        with _writable(home):
            home.mkdir(parents=True, exist_ok=True)
        return cls(home, role, None)

    def publish(self, url: str, token: str) -> None:
        """Tell other processes of this user where the owner listens, and what lets them in."""
        if self._lock is not None:
            self._write(Owner(os.getpid(), self.role, url, token))

    def still(self) -> None:
        """Ask whether `home` is what was taken.

        :raises StorageError: if it was removed, or another put in its place: what is written would be lost.
        """
        if self._file != (None if self._lock is None else _file_at(self.home)):
            raise StorageError(
                "the state was removed, or another put in its place, while this process had it open",
                where=str(self.home),
                remedy="Start this process again, and ingest again what is not in any more",
            )

    def release(self) -> None:
        """Let go; harmless when called twice."""
        if self._lock is not None and self._lock.is_locked:
            if self._file == _file_at(self.home):  # else it is another's
                (self.home / OWNER_FILE).unlink(missing_ok=True)
            self._lock.release()

    def _write(self, owner: Owner) -> None:
        draft = self.home / f"{OWNER_FILE}.{os.getpid()}"
        try:
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(asdict(owner), file)
            draft.replace(self.home / OWNER_FILE)
        except OSError as error:
            draft.unlink(missing_ok=True)
            self.release()
            raise StorageError(
                f"can't be written: {error.strerror or error}",
                where=str(self.home),
                remedy="Free some space, or set RAGSAVER_HOME to another folder",
            ) from error


def _file_at(home: Path) -> tuple[int, int] | None:
    """Which file the lock is; None if there is none."""
    try:
        found = (home / LOCK_FILE).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def _writable(home: Path) -> Iterator[None]:
    try:
        yield
    except Timeout:  # an OSError too
        raise
    except OSError as error:
        raise StorageError(
            f"can't be written: {error.strerror or error}",
            where=str(home),
            remedy="Set RAGSAVER_HOME to a folder that you own and that has space",
        ) from error


def current_owner(home: Path) -> Owner | None:
    """The process that holds the index now; None if it is free (a killed owner's traces don't count)."""
    if not (home / LOCK_FILE).exists():
        return None
    lock = FileLock(home / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return _read_owner(home) or Owner(0, "another process")
    except OSError:
        return None
    lock.release()
    return None


def serving_owner(home: Path) -> Owner | None:
    """The process that holds the index now; where it is a server that is just starting, waits for its address."""
    deadline = time.monotonic() + _STARTING_S
    owner = current_owner(home)
    while owner and owner.role == SERVES and owner.url is None and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN_S)
        owner = current_owner(home)
    return owner


def locked_by(owner: Owner | None, home: Path) -> IndexLocked:
    """The error for somebody who needs the index while `owner` holds it."""
    who = f"`{owner.role}` (process {owner.pid})" if owner and owner.pid else "another process"
    return IndexLocked(
        f"the index is held by {who}",
        where=str(home),
        remedy="Wait for it to end or stop it. While `ragsaver serve` runs, the other commands go through it",
    )


def _read_owner(home: Path) -> Owner | None:
    try:
        return Owner(**json.loads((home / OWNER_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
