"""Which folder holds the index and the manifest? `home` itself, until a migration has put others in their place.

A migration builds in `home/next`. The switch is one atomic write of a pointer file; then `next` gets its lasting name,
which whoever opens the index completes if the process died in between.
"""

import os
import re
import shutil
from pathlib import Path

from ragsaver.errors import StorageError

NEXT = "next"
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
        try:
            (home / NEXT).rename(store)
        except FileNotFoundError:
            if not store.exists():  # no other process has just completed it
                raise StorageError(
                    f"names `{store.name}`, which is not there",
                    where=str(pointer),
                    remedy="Restore the folder, or point `home` (RAGSAVER_HOME) to a new one and ingest again",
                ) from None
    return store


def switch(home: Path) -> Path:
    """Put `home/next` in the place of the folder in use; the caller owns `home`, and nobody has either open.

    :returns: the folder in use from now on.
    :raises StorageError: if the disk refuses; the old one stays in use then.
    """
    numbers = [int(match.group(1)) for entry in home.iterdir() if (match := _NAME.fullmatch(entry.name))]
    name = f"store-{max(numbers, default=0) + 1}"
    draft = home / f"{_POINTER}.new"
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(name + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(home / _POINTER)
    except OSError as error:
        raise StorageError(f"can't be written: {error.strerror}", where=str(home)) from error
    return current_store(home)


def discard_others(home: Path) -> None:
    """Remove what is not in use any more; the caller owns `home`."""
    store = current_store(home)
    if store != home:
        shutil.rmtree(home / "index", ignore_errors=True)
        for file in home.glob("manifest.sqlite*"):
            file.unlink(missing_ok=True)
    for entry in home.iterdir():
        if _NAME.fullmatch(entry.name) and entry != store:
            shutil.rmtree(entry, ignore_errors=True)
