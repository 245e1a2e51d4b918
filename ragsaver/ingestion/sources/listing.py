"""From what a caller names to documents: each kind of place is listed by its own part."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ragsaver.errors import RagSaverError, UnreadableDocument, UsageError
from ragsaver.ingestion.sources.access import with_access
from ragsaver.ingestion.sources.files import check_path, file_item, list_files
from ragsaver.ingestion.sources.item import MayBeEmpty, SourceItem, not_empty
from ragsaver.ingestion.sources.lists import SITEMAP, URLS, Listing, Lists
from ragsaver.ingestion.sources.rules import Selection
from ragsaver.ingestion.sources.walk import find_files
from ragsaver.settings import SourcesSettings

if TYPE_CHECKING:
    from ragsaver.ingestion.sources.pages import Web

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_Root = Callable[[], Iterator[SourceItem]]


def list_sources(
    paths: Sequence[str | Path],
    *,
    home: Path,
    cwd: Path,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    settings: SourcesSettings,
    max_bytes: int,
    passed_over: Counter[str] | None = None,
    lists: Lists | None = None,
    may_be_empty: MayBeEmpty = not_empty,
) -> Iterator[SourceItem]:
    """The documents at the places named, each once, by name within a place; found as they are asked for.

    A place is a file or folder, a URI that fsspec knows, an http or https address, `urls:FILE` or `sitemap:ADDRESS`.

    :param home: RAGSaver's own state, never ingested.
    :param cwd: the caller's working directory: names below it are relative to it.
    :param include: patterns as in a `.gitignore`, relative to the place; only what matches is taken. What is named
        itself is always taken.
    :param exclude: patterns likewise; what matches is left out.
    :param max_bytes: of one document.
    :param passed_over: counts the files of folders and stores that are left out for their kind alone, by suffix.
    :param lists: gets what each list named that was read; complete once the documents have come.
    :param may_be_empty: whether it is no error that the folder or store there holds nothing that is taken.
    :raises UsageError: at once if a place is not there or a pattern is none; when its turn comes if it is empty.
    :raises MissingExtra: at once if a protocol needs a package that is not installed.
    """
    selection = Selection.of(include, exclude)
    read = {} if lists is None else lists

    @cache
    def web() -> "Web":
        # Imported where used: a folder does not pay for the HTTP client's start.
        from ragsaver.ingestion.sources.pages import Web

        return Web(settings, max_bytes)

    def folder(path: Path) -> _Root:
        check_path(path)
        return partial(
            list_files,
            path,
            home=home,
            cwd=cwd,
            selection=selection,
            max_bytes=max_bytes,
            passed_over=passed_over,
            may_be_empty=lambda location: may_be_empty(location, os.path.lexists),
        )

    def root(named: str | Path) -> _Root:
        if isinstance(named, Path) or os.path.lexists(cwd / named):
            return folder(cwd / named)
        if named.startswith(URLS):
            return _url_list(cwd / named.removeprefix(URLS), web(), selection, read, max_bytes)
        if named.startswith(SITEMAP):
            return _sitemap(named.removeprefix(SITEMAP), web(), selection, read, settings.sitemap_max_pages, max_bytes)
        protocol = scheme(named)
        if protocol in ("http", "https"):
            return _page(named, web(), read)
        if protocol in ("file", "local"):
            return folder(local_path(named))
        if protocol is not None:
            return _store(named, selection, max_bytes, passed_over, may_be_empty)
        return folder(cwd / named)

    items = _each_once([root(named) for named in paths])
    return (with_access(item, settings.access) for item in items) if settings.access else items


def location_of(named: str | Path, cwd: Path) -> str:
    """Where a place is, as the locations of what lies under it begin: a path without links, or a URI."""
    if isinstance(named, Path) or os.path.lexists(cwd / named):
        return os.path.realpath(cwd / named)
    protocol = scheme(named)
    if protocol in ("file", "local"):
        return os.path.realpath(local_path(named))
    return os.path.realpath(cwd / named) if protocol is None else named.rstrip("/")


def item_at(source: str, location: str | None, settings: SourcesSettings, max_bytes: int) -> SourceItem | None:
    """The document of that name, to be read again where it came from; None if it is not there any more."""
    if location is None:
        return None
    if scheme(location) is None:
        found = next(find_files(Path(location), home=Path(location), cwd=Path("/"), selection=None))
        if found.error:
            return None
        return with_access(file_item(found._replace(source=source), max_bytes), settings.access)
    try:
        items = list_sources([location], home=Path("/"), cwd=Path("/"), settings=settings, max_bytes=max_bytes)
        return with_access(next(items)._replace(source=source), settings.access)
    except (RagSaverError, StopIteration):
        return None


def scheme(named: str) -> str | None:
    """The protocol of a URI in small letters; None for anything else."""
    match = _URI.match(named)
    return match.group(1).lower() if match else None


def local_path(uri: str) -> Path:
    """The path of a `file://` URI."""
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise UsageError("is on another machine", where=uri, remedy="A local file is file:///PATH, with three slashes")
    return Path(url2pathname(parts.path))


def _each_once(roots: Sequence[_Root]) -> Iterator[SourceItem]:
    seen: set[str | None] = set()
    for root in roots:
        for item in root():
            if item.location not in seen:
                seen.add(item.location)
                yield item


def _page(url: str, web: "Web", read: Lists) -> _Root:
    address = _checked(url)
    read[address] = Listing({address}, ended=True)
    return lambda: iter((web.item(url),))


def _url_list(file: Path, web: "Web", selection: Selection, read: Lists, max_bytes: int) -> _Root:
    from ragsaver.ingestion.sources.url_list import addresses_in, pages_of

    addresses = addresses_in(file, max_bytes)
    listing = read.setdefault(f"{URLS}{os.path.realpath(file)}", Listing())
    return partial(pages_of, web, addresses, selection, listing, f"{URLS}{file}")


def _sitemap(url: str, web: "Web", selection: Selection, read: Lists, max_pages: int, max_bytes: int) -> _Root:
    from ragsaver.ingestion.sources.sitemap import list_sitemap

    address = _checked(url)
    listing = read.setdefault(f"{SITEMAP}{address}", Listing())
    return partial(list_sitemap, web, address, selection, listing, max_pages=max_pages, max_bytes=max_bytes)


def _checked(url: str) -> str:
    """An address that the caller wrote: what is wrong with it is the caller's error, not a document's."""
    from ragsaver.ingestion.sources.pages import address_of

    try:
        return address_of(url)
    except UnreadableDocument as error:
        raise UsageError(error.problem, where=error.where, remedy=error.remedy) from error


def _store(
    uri: str, selection: Selection, max_bytes: int, passed_over: Counter[str] | None, may_be_empty: MayBeEmpty
) -> _Root:
    from ragsaver.ingestion.sources.objects import open_store

    return partial(open_store(uri), selection, max_bytes, passed_over, may_be_empty)
