"""Small files that say another thing at once and lastingly, or what they said before."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragsaver.errors import StorageError


def draft_of(file: Path) -> Path:
    """Where what a file is to say is written first."""
    return file.with_name(f"{file.name}.new")


def put(file: Path, text: str) -> None:
    """Let a file say this.

    :raises OSError: if the disk refuses; it says what it said before.
    """
    draft = draft_of(file)
    with draft.open("w", encoding="utf-8") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    draft.replace(file)


@contextmanager
def changing(place: Path) -> Iterator[None]:
    """Says what it means if the disk refuses.

    :raises StorageError: instead of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"can't be written: {error.strerror}",
            where=str(place),
            remedy="Free some space or check the folder's rights; if it was removed, start this process again",
        ) from error
