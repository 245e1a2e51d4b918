"""Which folder holds the shard in use, and how does another take its place while questions are answered?

A pointer file names the folder. Who reads holds the shard that was in use when it began; the old one is closed once
nobody holds it any more.
"""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from ragsaver.errors import StorageError
from ragsaver.index.lasting import changing, draft_of, put

FIRST = "shard"
EMPTY = ""
_POINTER = "shard.json"
_REMEDY = "Restore it, or delete the index's folder and run `ragsaver verify`"


class Closable(Protocol):
    """What is let go of in the end."""

    def close(self) -> None:
        """Let go."""
        ...


T = TypeVar("T", bound=Closable)


@dataclass(frozen=True, slots=True)
class Pointer:
    """The folder in use, and how many points it had when it was last optimised.

    :ivar sole: the key of the only scope that was written to it; `EMPTY` if none was, None where that is not known.
    :ivar left_behind: points that were deleted or changed since, and count in the engine's word statistics until then.
    """

    name: str = FIRST
    optimised_points: int = 0
    sole: str | None = None
    left_behind: int = 0


class PointerFile:
    """The pointer under `folder`; the first shard's where nobody has written one.

    :ivar now: what it says.
    :raises StorageError: if it can't be told: another shard must not be taken for it, and the rest thrown away.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / _POINTER
        self.now = Pointer()
        if not self._file.exists():
            return
        place = str(self._file)
        try:
            self.now = Pointer(**json.loads(self._file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise StorageError(f"does not say which shard is in use: {error}", where=place, remedy=_REMEDY) from error
        if not (folder / self.now.name).is_dir():
            raise StorageError(f"names `{self.now.name}`, which is not there", where=place, remedy=_REMEDY)

    def write(self, pointer: Pointer) -> None:
        """Say something else, at once and lastingly.

        :raises StorageError: if the disk refuses; it says what it said before.
        """
        with changing(draft_of(self._file)):
            put(self._file, json.dumps(asdict(pointer)))
        self.now = pointer


def following(name: str) -> str:
    """The name of the folder after this one."""
    return f"{FIRST}-{int(name.removeprefix(FIRST).removeprefix('-') or 0) + 1}"


def discard_others(folder: Path, name: str) -> None:
    """Remove shards that are not in use: an optimisation that was cut short, or the one before."""
    for entry in folder.glob(f"{FIRST}*"):
        if entry.is_dir() and entry.name != name:
            shutil.rmtree(entry, ignore_errors=True)


class Held(Generic[T]):
    """Something that is replaced while others use it."""

    def __init__(self, first: T) -> None:
        self._now = first
        self._users: dict[int, int] = {id(first): 0}
        self._changed = threading.Condition()

    @contextmanager
    def use(self) -> Iterator[T]:
        """What is in use now; it stays open inside."""
        with self._changed:
            now = self._now
            self._users[id(now)] += 1
        try:
            yield now
        finally:
            with self._changed:
                self._users[id(now)] -= 1
                self._changed.notify_all()

    def replace(self, by: T) -> None:
        """Put another in its place, and close the old one once nobody uses it."""
        with self._changed:
            old, self._now = self._now, by
            self._users[id(by)] = 0
            self._changed.wait_for(lambda: self._users[id(old)] == 0)
            del self._users[id(old)]
        old.close()

    def close(self) -> None:
        """Close it once nobody uses it."""
        with self._changed:
            self._changed.wait_for(lambda: self._users[id(self._now)] == 0)
        self._now.close()
