"""Which files lie under a path? One look at each, without reading it and without leaving the folder."""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from ragsaver.errors import UnreadableDocument, UsageError
from ragsaver.ingestion.bounded import read_file
from ragsaver.ingestion.converters import FORMATS, format_of, is_outdated
from ragsaver.ingestion.sources.rules import IGNORE_FILE, IgnoreRules, Selection
from ragsaver.ingestion.sources.suffixless import has_suffix, is_text

_MAX_IGNORE_FILE_BYTES = 2**20
_NO_SUFFIX = "no suffix"


class Found(NamedTuple):
    """A file, or a folder that can't be looked into; `location` is its path without links."""

    source: str
    location: str
    size: int
    mtime_ns: int
    error: OSError | None = None


class _Folder(NamedTuple):
    """A folder on the way down: where it is, what its files are called, and what remains of it."""

    path: str
    source: str
    name: str
    rules: IgnoreRules | None
    entries: Iterator[tuple[str, os.DirEntry[str], bool]]


def find_files(
    path: Path,
    *,
    home: Path,
    cwd: Path,
    selection: Selection | None,
    passed_over: Counter[str] | None = None,
    may_be_empty: Callable[[str], bool] = lambda location: False,
) -> Iterator[Found]:
    """What `list_files` lists, not yet readable.

    :param selection: None passes over the ignore files as well.
    :param passed_over: counts the files that are left out for their kind alone, by suffix.
    :param may_be_empty: whether it is no error that the folder of this location holds nothing.
    """
    real = os.path.realpath(path)
    name = source_name(path, cwd)
    try:
        status = os.stat(real)  # noqa: PTH116
    except OSError as error:
        yield Found(name, real, 0, 0, error)
        return
    if not stat.S_ISDIR(status.st_mode):
        yield Found(name, real, status.st_size, status.st_mtime_ns)
        return
    rules = None if selection is None else _rules_above(real, os.path.realpath(cwd))
    prefix = "" if name == "." else name.rstrip("/") + "/"
    walk = _Walk(real.rstrip(os.sep) + os.sep, os.path.realpath(home) + os.sep, selection or Selection(), passed_over)
    empty = True
    if rules is None or not rules.ignore(walk.root):
        for found in walk.files(prefix, rules):
            empty = False
            yield found
    if empty and not may_be_empty(real):
        raise UsageError(
            "the folder holds no document that can be read",
            where=str(path),
            remedy=f"Kinds that can: {', '.join(sorted(FORMATS))}"
            + ("" if selection is None else f". Patterns and {IGNORE_FILE} files may leave out more than is meant"),
        )


def source_name(path: Path, cwd: Path) -> str:
    """A file's name in the manifest: relative to the working directory if it is below it, else absolute."""
    absolute = Path(os.path.abspath(cwd / path))
    try:
        return absolute.relative_to(cwd).as_posix()
    except ValueError:
        return absolute.as_posix()


class _Walk:
    """One way through a folder.

    :param root: without links, with a slash at its end, like `home`.
    :param passed_over: counts the files that are left out for their kind alone, by suffix.
    """

    def __init__(self, root: str, home: str, selection: Selection, passed_over: Counter[str] | None) -> None:
        self.root = root
        self._home = home
        self._selects = selection.include is not None or selection.exclude is not None
        self._selection = selection
        self._passed_over = passed_over

    def files(self, prefix: str, rules: IgnoreRules | None) -> Iterator[Found]:
        """Depth first, so that names come in order: a folder sorts as its name with the slash."""
        try:
            way = [self._enter(self.root, prefix, "", rules)]
        except OSError as error:
            yield Found(prefix.rstrip("/") or ".", self.root, 0, 0, error)
            return
        while way:
            folder = way[-1]
            for name, entry, is_folder in folder.entries:
                source = folder.source + name
                if is_folder:
                    try:
                        way.append(self._enter(folder.path + name, source, folder.name + name, folder.rules))
                    except FileNotFoundError:
                        continue
                    except OSError as error:
                        yield Found(source.rstrip("/"), folder.path + entry.name, 0, 0, error)
                        continue
                    break
                found = self._file(entry, source)
                if found is not None:
                    yield found
            else:
                way.pop()

    def _enter(self, path: str, source: str, name: str, rules: IgnoreRules | None) -> _Folder:
        """Look into a folder; what is hidden, of no known kind or left out is not kept."""
        kept: list[tuple[str, os.DirEntry[str], bool]] = []
        others: list[str] = []
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name[0] == ".":
                    if entry.name == IGNORE_FILE and rules is not None:
                        rules = rules.below(path, _ignore_text(path + IGNORE_FILE))
                elif entry.is_dir(follow_symlinks=False):
                    kept.append((entry.name + "/", entry, True))
                elif may_be_read(entry.name) or (self._selection.include is not None and is_outdated(entry.name)):
                    kept.append((entry.name, entry, False))
                elif self._passed_over is not None and _is_file(entry):
                    others.append(entry.name)
        if self._home.startswith(path):
            kept = [one for one in kept if path + one[0] != self._home]
        if rules is not None and rules.levels:
            kept = [one for one in kept if not rules.ignore(path + one[0])]
        if self._selects:
            kept = [one for one in kept if self._selected(name + one[0], one[2])]
        if self._passed_over is not None:
            self._passed_over.update(suffix_of(other) for other in others if self._wanted(other, path, name, rules))
        kept.sort(key=itemgetter(0))
        return _Folder(path, source, name, rules, iter(kept))

    def _selected(self, name: str, is_folder: bool) -> bool:
        return self._selection.enters(name) if is_folder else self._selection.takes(name)

    def _wanted(self, file: str, path: str, name: str, rules: IgnoreRules | None) -> bool:
        """Whether a file would be taken if it were of another kind."""
        return not (rules and rules.levels and rules.ignore(path + file)) and (
            not self._selects or self._selection.takes(name + file)
        )

    def _file(self, entry: os.DirEntry[str], source: str) -> Found | None:
        """The file, if it is one, is still there and lies in the folder."""
        location = entry.path
        try:
            if entry.is_symlink():
                location = os.path.realpath(location)
                if not location.startswith(self.root) or location.startswith(self._home):
                    return None
            status = entry.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            # A link that leads in a circle is passed over like one that leads nowhere.
            return None if entry.is_symlink() else Found(source, location, 0, 0, error)
        if not stat.S_ISREG(status.st_mode):
            return None
        if not has_suffix(entry.name) and not is_text(location):
            if self._passed_over is not None:
                self._passed_over[_NO_SUFFIX] += 1
            return None
        return Found(source, location, status.st_size, status.st_mtime_ns)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file or leads to one; most entries tell without being asked for."""
    return entry.is_file(follow_symlinks=False) or (entry.is_symlink() and os.path.isfile(entry.path))  # noqa: PTH113


def suffix_of(name: str) -> str:
    """A file's suffix in small letters, by which what is passed over is counted."""
    return os.path.splitext(name)[1].lower() or _NO_SUFFIX  # noqa: PTH122


def may_be_read(name: str) -> bool:
    """Whether a file's name is that of a kind that can be read, or says nothing."""
    return not has_suffix(name) or _is_known(name[name.rfind(".") :])


@lru_cache(maxsize=1024)
def _is_known(suffix: str) -> bool:
    return format_of(f"x{suffix}") is not None


def _rules_above(folder: str, cwd: str) -> IgnoreRules:
    """The rules that hold for a folder from the working directory on, its own left out."""
    rules = IgnoreRules()
    for above in ignore_files_above(folder, cwd):
        rules = rules.below(f"{str(above.parent).rstrip(os.sep)}{os.sep}", _ignore_text(str(above)))
    return rules


def ignore_files_above(folder: str, cwd: str) -> list[Path]:
    """The ignore files of the folders that a folder lies in, from the working directory on."""
    parents = [one for one in reversed(Path(folder).parents) if one.is_relative_to(cwd)]
    return [file for one in parents if os.path.lexists(file := one / IGNORE_FILE)]


def _ignore_text(file: str) -> str:
    """Rules that can't be read stop the run: without them, what was to be kept out would go in."""
    try:
        return read_file(file, file, _MAX_IGNORE_FILE_BYTES).decode()
    except UnreadableDocument as error:
        raise UsageError(error.problem, where=file, remedy="Mend or remove it") from error
    except UnicodeDecodeError as error:
        raise UsageError("is not UTF-8", where=file, remedy="Save it as UTF-8") from error
