"""Which folder holds the index and the manifest? `home` itself, until a migration has put others in their place.

Those have numbers: `home/store-1` is the first. A pointer file names the one in use, and a migration builds the next
one. The switch is one atomic write of the pointer, so that before and after it exactly one of them is in use.
"""

import re
import shutil
from pathlib import Path

from ragsaver.errors import StorageError
from ragsaver.index.lasting import put

_POINTER = "current"
_NAME = re.compile(r"store-([1-9]\d*)")


def current_store(home: Path) -> Path:
    """The folder in use.

    :raises StorageError: if the pointer names none that is there.
    """
    pointer = home / _POINTER
    if not pointer.exists():
        return home
    store = home / pointer.read_text(encoding="utf-8").strip()
    if not store.exists():
        raise StorageError(
            f"names `{store.name}`, which is not there",
            where=str(pointer),
            remedy="Restore the folder, or point `home` (RAGSAVER_HOME) to a new one and ingest again",
        )
    return store


def next_store(home: Path) -> Path:
    """The folder that a migration builds; it may be there."""
    store = current_store(home)
    number = _NAME.fullmatch(store.name) if store != home else None
    return home / f"store-{int(number.group(1)) + 1 if number else 1}"


def switch(home: Path, store: Path) -> None:
    """Put a folder of `home` in the place of the one in use; the caller owns `home`.

    :raises StorageError: if the disk refuses; the old one stays in use then.
    """
    try:
        put(home / _POINTER, store.name + "\n")
    except OSError as error:
        raise StorageError(f"can't be written: {error.strerror}", where=str(home)) from error


def other_stores(home: Path) -> list[Path]:
    """Folders that are not in use any more, without what is being built."""
    store, coming = current_store(home), next_store(home)
    entries = [entry for entry in home.glob("store-*") if _NAME.fullmatch(entry.name)]
    return [entry for entry in (home, *entries) if entry not in (store, coming)]


def discard_others(home: Path) -> None:
    """Remove what is not in use any more, and leave what is being built; the caller owns `home`."""
    for store in other_stores(home):
        if store != home:
            shutil.rmtree(store, ignore_errors=True)
            continue
        shutil.rmtree(home / "index", ignore_errors=True)
        for file in home.glob("manifest.sqlite*"):
            file.unlink(missing_ok=True)
