"""Documents in object stores and on other file systems: whatever fsspec knows, by its URI."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from ragsaver.errors import MissingExtra, UnreadableDocument, UsageError, VanishedDocument
from ragsaver.ingestion.bounded import GONE, join, pieces
from ragsaver.ingestion.converters import FORMATS, format_of, is_outdated
from ragsaver.ingestion.sources.item import MayBeEmpty, SourceItem, unreadable
from ragsaver.ingestion.sources.rules import Selection
from ragsaver.ingestion.sources.walk import suffix_of

# What the stores call a value that changes with the content, and a time of the last change.
_TAGS = ("ETag", "etag", "checksum", "content_hash", "md5Hash", "md5", "sha256", "sha", "crc32c")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "modification_time")
# Stores without folders: a prefix is there as long as an object is under it.
_FLAT = frozenset(("memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss", "obs", "tos"))


def open_store(uri: str) -> Callable[[Selection, int, Counter[str] | None, MayBeEmpty], Iterator[SourceItem]]:
    """Get ready to list what lies under a URI; nothing is asked of the store yet.

    :returns: lists it, given what is selected, the most bytes of one object, what counts the objects that are left
        out for their kind alone, by suffix, and whether it is no error that nothing is taken.
    :raises MissingExtra: if the protocol needs a package that is not installed.
    :raises UsageError: if there is no such protocol, or the URI holds a password.
    """
    import fsspec

    protocol, _, rest = uri.partition("://")
    if "@" in rest.partition("/")[0] and ":" in rest.partition("@")[0]:
        raise UsageError(
            "an address with a password would stand in every citation",
            where=f"{protocol}://{rest.partition('@')[2]}",
            remedy="Put it where the protocol's package looks for it",
        )
    # A link of the chain could be a page, fetched past the check of its address.
    if "::" in uri:
        raise UsageError("chained addresses are not followed", where=uri, remedy="Name one place")
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError as error:
        raise UsageError(f"`{protocol}://` is no protocol that is known", where=uri) from error
    except ImportError as error:
        raise _missing(protocol, uri) from error
    try:
        store, path = fsspec.core.url_to_fs(uri)
    except ImportError as error:
        raise _missing(protocol, uri) from error
    except Exception as error:
        # Each package has errors of its own, and no base but this one.
        raise UsageError(f"can't be opened: {error}", where=uri, remedy=_remedy(protocol)) from error
    return partial(_list, store, path, uri.rstrip("/"), protocol)


def version_of(info: Mapping[str, Any]) -> str:
    """What a listing says that changes with the content; `""` if it says nothing of the kind."""
    tag = next((info[key] for key in _TAGS if info.get(key)), None)
    if tag is not None:
        return str(tag)
    time = next((info[key] for key in _TIMES if info.get(key) is not None), None)
    return "" if time is None else f"{info.get('size')}:{time}"


def _list(
    store: Any,
    path: str,
    uri: str,
    protocol: str,
    selection: Selection,
    max_bytes: int,
    passed_over: Counter[str] | None,
    may_be_empty: MayBeEmpty,
) -> Iterator[SourceItem]:
    try:
        found, refused = _find(store, path)
        if not found:
            _require_emptied(store, path, protocol)
    except Exception as error:
        found, refused = {}, {path: error}
    for place, why in refused.items():
        name = _name(place, path, uri)
        problem = UnreadableDocument(f"can't be listed: {why}", where=name, remedy=_remedy(protocol))
        yield unreadable(name, name, problem)
    if refused and not found:
        return
    taken = dict(_taken(found, path, uri, selection, passed_over))
    if not taken:
        there = {_name(place, path, uri) for place in found}
        if may_be_empty(uri, there.__contains__):
            return
        raise UsageError(
            "there is no document that can be read", where=uri, remedy=f"Kinds that can: {', '.join(sorted(FORMATS))}"
        )
    for name in sorted(taken):
        info = taken[name]
        size = info.get("size")
        read = partial(_read, store, str(info["name"]), name, protocol, max_bytes)
        yield SourceItem(name, name, int(size) if size is not None else None, version_of(info), None, read)


def _taken(
    found: Mapping[str, dict[str, Any]], path: str, uri: str, selection: Selection, passed_over: Counter[str] | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects that are documents, by their URIs. One that is named itself is always taken."""
    for place, info in found.items():
        if info.get("type") != "file":
            continue
        full = _name(place, path, uri)
        name = full[len(uri) :].strip("/")
        if not name:
            yield uri, info
        elif any(part.startswith(".") for part in name.split("/")) or not selection.takes_all_the_way(name):
            continue
        elif format_of(name) is not None or (selection.include is not None and is_outdated(name)):
            yield full, info
        elif passed_over is not None:
            passed_over[suffix_of(name)] += 1


def _name(place: str, path: str, uri: str) -> str:
    """The URI of what a store found somewhere below a path."""
    below = place[len(path.rstrip("/")) :].strip("/")
    return f"{uri}/{below}" if below else uri


def _find(store: Any, path: str) -> tuple[dict[str, dict[str, Any]], dict[str, Exception]]:
    """All that lies somewhere below a path, and the folders there that can't be looked into, with why.

    The search that stores without one of their own inherit goes from folder to folder and passes over those: what is
    in them would seem to be gone.
    """
    from fsspec.spec import AbstractFileSystem

    if getattr(store.find, "__func__", None) is not AbstractFileSystem.find:
        return store.find(path, detail=True), {}
    found: dict[str, dict[str, Any]] = {}
    refused: dict[str, Exception] = {}
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        try:
            listing = store.ls(folder, detail=True)
        except FileNotFoundError:  # gone since its parent was looked into, or never there, which is asked again
            continue
        except Exception as error:
            refused[folder] = error
            continue
        for info in listing:
            place = info["name"].rstrip("/")
            if info["type"] != "directory":
                found[place] = info
            elif place != folder.rstrip("/"):
                waiting.append(place)
    if not found and store.isfile(path):  # of which some stores make no listing
        return {path: store.info(path)}, {}
    return found, refused


def _require_emptied(store: Any, path: str, protocol: str) -> None:
    """That nothing was found is true only if the place can be looked into: a search passes over what refuses."""
    try:
        store.ls(path)
    except FileNotFoundError:
        if protocol.lower() not in _FLAT:
            raise


def _read(store: Any, path: str, uri: str, protocol: str, max_bytes: int) -> bytes:
    try:
        with store.open(path, "rb") as file:
            return join(pieces(file), max_bytes, uri)
    except UnreadableDocument:
        raise
    except FileNotFoundError as error:
        raise VanishedDocument(GONE, where=uri, remedy=_remedy(protocol)) from error
    except Exception as error:
        raise UnreadableDocument(f"can't be read: {error}", where=uri, remedy=_remedy(protocol)) from error


def _missing(protocol: str, uri: str) -> MissingExtra:
    from fsspec.registry import known_implementations

    known = known_implementations.get(protocol, {})
    package = str(known.get("class", "")).partition(".")[0]
    if package in ("", "fsspec"):
        return MissingExtra(
            f"`{protocol}://` needs a package that is not installed", where=uri, remedy=known.get("err")
        )
    return MissingExtra(
        f"`{protocol}://` needs the package {package}, which is not installed",
        where=uri,
        remedy=f"pip install {package}",
    )


def _remedy(protocol: str) -> str:
    return f"Check the address, and the rights that {protocol} gives you"
