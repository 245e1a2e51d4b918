"""Did something change under these folders? Then it is time to ingest again."""

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from ragsaver.errors import UsageError
from ragsaver.ingestion.sources.files import check_path
from ragsaver.ingestion.sources.listing import SITEMAP, URLS, local_path, scheme
from ragsaver.ingestion.sources.rules import IGNORE_FILE
from ragsaver.settings import SourcesSettings

# How soon the first answer comes and a stop is seen at the latest.
_WAKE_MS = 500


def watch(
    paths: Sequence[str | Path], *, home: Path, cwd: Path, settings: SourcesSettings, stop: threading.Event
) -> Iterator[None]:
    """Yields once when it has begun to watch, then whenever something changed, until `stop` is set.

    Changes in quick succession are told once. None is missed while the caller is busy: it is told afterwards.
    Hidden files and RAGSaver's own state don't count; a change of an ignore file does. Of the paths only files and
    folders are watched; for a file its folder is, because editors put new files in place of old ones.

    :raises UsageError: if a path is not there, or none of them is a file or folder.
    """
    roots = [os.path.realpath(path) for path in _local(paths, cwd)]
    if not roots:
        raise UsageError("there is no file or folder to watch", remedy="Name one; pages and stores are not watched")
    return _watch(roots, os.path.realpath(home), settings.watch_debounce_ms, stop)


def _watch(roots: Sequence[str], home: str, debounce_ms: int, stop: threading.Event) -> Iterator[None]:
    # Imported where used: most runs don't watch.
    from watchfiles import watch as watch_files

    folders = {root if os.path.isdir(root) else os.path.dirname(root) for root in roots}  # noqa: PTH112, PTH120
    first = True
    for changes in watch_files(
        *sorted(folders),
        watch_filter=lambda _, path: counts(path, roots, home),
        debounce=debounce_ms,
        stop_event=stop,
        rust_timeout=_WAKE_MS,
        yield_on_timeout=True,
    ):
        if first or changes:
            first = False
            yield


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
            if named.startswith((URLS, SITEMAP)):
                continue
            protocol = scheme(named)
            if protocol in ("file", "local"):
                yield local_path(named)
                continue
            if protocol is not None:
                continue
        check_path(cwd / named)
        yield cwd / named
