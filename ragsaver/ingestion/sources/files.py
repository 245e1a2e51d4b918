"""Files and folders: the documents that the disk has."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ragsaver.errors import UnreadableDocument, UsageError
from ragsaver.ingestion.bounded import read_file
from ragsaver.ingestion.sources.item import SourceItem, unreadable
from ragsaver.ingestion.sources.rules import Selection
from ragsaver.ingestion.sources.walk import Found, find_files

# A file that was written less long ago may be written again and keep its time.
RACY_NS = 2_000_000_000


def list_files(
    path: Path,
    *,
    home: Path,
    cwd: Path,
    selection: Selection,
    max_bytes: int,
    passed_over: Counter[str] | None = None,
    may_be_empty: Callable[[str], bool] = lambda location: False,
) -> Iterator[SourceItem]:
    """A file, or the files of a folder in the order of their names.

    :param passed_over: counts the files that are left out for their kind alone, by suffix.
    :param may_be_empty: whether it is no error that the folder of this location holds nothing that is taken.
    :raises UsageError: if an ignore file can't be read, or the folder holds nothing that is taken.
    """
    settled_ns = time.time_ns() - RACY_NS
    for found in find_files(
        path, home=home, cwd=cwd, selection=selection, passed_over=passed_over, may_be_empty=may_be_empty
    ):
        if found.error is not None:
            error = UnreadableDocument(
                f"can't be looked into: {found.error.strerror}", where=found.source, remedy="Check its rights"
            )
            yield unreadable(found.source, found.location, error)
        else:
            yield file_item(found, max_bytes, settled_ns)


def file_item(found: Found, max_bytes: int, settled_ns: int | None = None) -> SourceItem:
    """A file as a document. Where it was just written, its time can't tell the next write: it has no version.

    :param settled_ns: the time before which it was not just written; None: now.
    """
    source, location, size, mtime_ns, _ = found
    settled = mtime_ns < (time.time_ns() - RACY_NS if settled_ns is None else settled_ns)
    read = partial(read_file, location, source, max_bytes)
    version = f"{size}:{mtime_ns}" if settled else ""
    return SourceItem(source, location, size, version, None, read, read_anywhere=True)


def check_path(path: Path) -> None:
    """:raises UsageError: if there is nothing at the path."""
    if not path.exists():
        raise UsageError("there is no such file or folder", where=str(path))
