"""Is there room on the disk to write, and did whoever wrote before close what they wrote?

A file is there from the first write until the index is closed: after a kill, to open it brings what is in its log only
to its place, which is writing, too.
"""

import shutil
from pathlib import Path

from ragsaver.errors import StorageError

_UNCLOSED = "unclosed"
_REMEDY = "Free some space or check the folder's rights; if it was removed, start this process again"


class Room:
    """The room for an index in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unclosed = folder / _UNCLOSED
        self._marked = False

    @property
    def left_unclosed(self) -> bool:
        """Whether somebody wrote and never closed it."""
        return self._unclosed.exists()

    def require(self, needed_bytes: int) -> None:
        """:raises StorageError: if less is free, or the folder is gone."""
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            raise self._refused(error) from error
        if free < needed_bytes:
            raise StorageError(
                f"only {free // 2**20} MiB are free on the disk, {needed_bytes // 2**20} MiB are needed to write",
                where=str(self._folder),
                remedy="Free some space and run the command again: what is in the index stays",
            )

    def mark(self) -> None:
        """Something is about to be written.

        :raises StorageError: if the disk refuses.
        """
        if self._marked:
            return
        try:
            self._unclosed.touch()
        except OSError as error:
            raise self._refused(error) from error
        self._marked = True

    def closed(self) -> None:
        """All that was written is in its place."""
        self._unclosed.unlink(missing_ok=True)
        self._marked = False

    def _refused(self, error: OSError) -> StorageError:
        return StorageError(f"can't be written: {error.strerror}", where=str(self._folder), remedy=_REMEDY)
