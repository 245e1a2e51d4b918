"""Did something change under these folders? Then it is time to ingest again."""

import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence, Set
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from ragsaver.errors import UsageError
from ragsaver.ingestion.sources.files import check_path
from ragsaver.ingestion.sources.listing import local_path, scheme
from ragsaver.ingestion.sources.lists import SITEMAP, URLS
from ragsaver.ingestion.sources.rules import IGNORE_FILE
from ragsaver.settings import SourcesSettings

# How soon the first answer comes and a stop is seen at the latest.
_WAKE_MS = 500


def watch(
    paths: Sequence[str | Path],
    *,
    home: Path,
    cwd: Path,
    settings: SourcesSettings,
    stop: threading.Event,
    due: Callable[[], bool] = lambda: False,
) -> Iterator[None]:
    """Yields once when it has begun to watch, then whenever something changed, until `stop` is set.

    Changes in quick succession are told once. None is missed while the caller is busy: it is told afterwards.
    Hidden files and RAGSaver's own state don't count; a change of an ignore file does. Of the paths only files,
    folders and lists of pages are watched; for a file its folder is, because editors put new files in place of old
    ones. A folder that vanishes, comes back or gives way to another of its name is told as a change.

    :param due: asked twice a second; True is told as a change.
    :raises UsageError: if a path is not there, or none of them is a file or folder.
    """
    places = list(_local(paths, cwd))
    if not places:
        raise UsageError("there is no file or folder to watch", remedy="Name one; pages and stores are not watched")
    folders = [place if place.is_dir() else place.parent for place in places]
    return _watch(places, folders, os.path.realpath(home), settings.watch_debounce_ms, stop, due)


def _watch(
    places: Sequence[Path],
    folders: Sequence[Path],
    home: str,
    debounce_ms: int,
    stop: threading.Event,
    due: Callable[[], bool],
) -> Iterator[None]:
    while not stop.is_set():
        standing = [_standing(folder) for folder in folders]
        roots = [os.path.realpath(place) for place in places]
        there = {one.path for one in standing if one}
        first = True
        try:
            with closing(_wakings(there, roots, home, debounce_ms, stop)) as wakings:
                for changed in wakings:
                    if first or changed or due():
                        first = False
                        yield
                    if there & changed or [_standing(folder) for folder in folders] != standing:
                        break
        except FileNotFoundError:  # it vanished before it could be watched
            continue


class _Standing(NamedTuple):
    """Which folder a path leads to; another one of the same name has another inode."""

    path: str
    device: int
    inode: int


def _standing(folder: Path) -> _Standing | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return _Standing(os.path.realpath(folder), status.st_dev, status.st_ino)


def _wakings(
    folders: Set[str], roots: Sequence[str], home: str, debounce_ms: int, stop: threading.Event
) -> Generator[Set[str]]:
    """What changed, twice a second at the least."""
    # Imported where used: most runs don't watch.
    from watchfiles import watch as watch_files

    if not folders:
        while not stop.wait(_WAKE_MS / 1000):
            yield frozenset()
        return
    for changes in watch_files(
        *sorted(folders),
        watch_filter=lambda _, path: path in folders or counts(path, roots, home),
        debounce=debounce_ms,
        stop_event=stop,
        rust_timeout=_WAKE_MS,
        yield_on_timeout=True,
    ):
        yield {path for _, path in changes}


def counts(path: str, roots: Sequence[str], home: str) -> bool:
    """Whether a change at a path may change what is under the roots; all absolute and without links."""
    if _is_under(path, home):
        return False
    return any(
        all(not part.startswith(".") or part == IGNORE_FILE for part in Path(path[len(root) :]).parts)
        for root in roots
        if _is_under(path, root)
    )


def _is_under(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def _local(paths: Sequence[str | Path], cwd: Path) -> Iterator[Path]:
    for named in paths:
        if isinstance(named, str) and not os.path.lexists(cwd / named):
            if named.startswith(SITEMAP):
                continue
            if named.startswith(URLS):
                check_path(cwd / named.removeprefix(URLS))
                yield cwd / named.removeprefix(URLS)
                continue
            protocol = scheme(named)
            if protocol in ("file", "local"):
                yield local_path(named)
                continue
            if protocol is not None:
                continue
        check_path(cwd / named)
        yield cwd / named
