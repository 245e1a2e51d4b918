"""One migration at a time: whoever builds a new half, puts it in place or removes one holds its lock."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ragsaver.database import schema_of
from ragsaver.errors import IndexLocked
from ragsaver.ingestion.writers import one_on_all_machines
from ragsaver.settings import Settings

_LOCK = "next.lock"


@contextmanager
def holding(settings: Settings) -> Iterator[FileLock]:
    """Hold the lock of the half under `home` for the code inside, which may let go of it sooner; where machines share
    the index, that of all machines too.

    :raises IndexLocked: if another process works on it.
    """
    home = settings.home
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / _LOCK)
    with ExitStack() as held:
        hold(lock)
        held.callback(lock.release)
        schema = schema_of(settings, "") if settings.index.shared else None
        if schema is not None and not held.enter_context(one_on_all_machines(schema, _LOCK)):
            raise _under_way(home)
        yield lock


def hold(lock: FileLock) -> None:
    """Take the lock of a half.

    :raises IndexLocked: if another process works on it.
    """
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise _under_way(Path(lock.lock_file).parent) from None


def _under_way(home: Path) -> IndexLocked:
    return IndexLocked(
        "another `ragsaver migrate` is under way", where=str(home), remedy="Wait for it to end, or stop it"
    )
