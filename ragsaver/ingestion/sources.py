"""Which documents lie under the paths that were named? Each with a name that stays the same between runs."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragsaver.errors import UsageError
from ragsaver.ingestion.converters import FORMATS, format_of


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to ingest; `source` is its name in the manifest and in citations."""

    source: str
    path: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class PostedDocument:
    """A document given as text; `format` is `markdown`, `text` or `html`."""

    source: str
    text: str
    format: str | None = None


def find_sources(paths: Sequence[Path], home: Path, cwd: Path) -> list[SourceFile]:
    """The files under the paths, in the order of their names; each file once.

    A folder's hidden files, files of other kinds, and links that lead out of it are passed over. A file that is
    named itself is always taken, so that what is wrong with it is reported.

    :param home: RAGSaver's own state, never ingested.
    :param cwd: the caller's working directory: names below it are relative to it.
    :raises UsageError: if a path is not there, or a folder holds nothing that can be read.
    """
    found: dict[Path, SourceFile] = {}
    for path in (cwd / named for named in paths):
        if not path.exists():
            raise UsageError("there is no such file or folder", where=str(path))
        files = [path] if path.is_file() else list(_under(path, home))
        if not files:
            raise UsageError(
                "the folder holds no document that can be read",
                where=str(path),
                remedy=f"Kinds that can: {', '.join(sorted(FORMATS))}",
            )
        for file in files:
            status = file.stat()
            found.setdefault(
                file.resolve(), SourceFile(source_name(file, cwd), file, status.st_size, status.st_mtime_ns)
            )
    return sorted(found.values(), key=lambda file: file.source)


def source_name(path: Path, cwd: Path) -> str:
    """A file's name in the manifest: relative to the working directory if it is below it, else absolute."""
    absolute = Path(os.path.abspath(cwd / path))
    try:
        return absolute.relative_to(cwd).as_posix()
    except ValueError:
        return absolute.as_posix()


def _under(folder: Path, home: Path) -> Iterator[Path]:
    root = folder.resolve()
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (here / name).resolve() != home.resolve()
        )
        for name in sorted(names):
            file = here / name
            if name.startswith(".") or format_of(name) is None or not file.is_file():
                continue
            if file.is_symlink() and not file.resolve().is_relative_to(root):
                continue
            yield file
