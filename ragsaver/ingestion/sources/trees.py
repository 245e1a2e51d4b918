"""Does a folder look as it did? Names, sizes and times tell, before anything is made of its files.

Only of plain folders, where all that lies there counts: what links and ignore files do is known once they are listed.
"""

import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path

import xxhash

from ragsaver.ingestion.sources.files import RACY_NS
from ragsaver.ingestion.sources.rules import IGNORE_FILE
from ragsaver.ingestion.sources.walk import ignore_files_above, may_be_read

_END = "\0\0"


def trees_of(paths: Sequence[str], *, home: Path, cwd: Path) -> str | None:
    """A digest of what lies under some places. None where only a listing tells: a place is no folder, or something in
    it is a link, an ignore file, out of reach, or was just written.

    Whatever a listing depends on is in it, but for the patterns and rules that the listing is given.

    :param home: RAGSaver's own state, never ingested.
    """
    digest = xxhash.xxh3_128()
    home_at, cwd_at = os.path.realpath(home), os.path.realpath(cwd)
    settled_ns = time.time_ns() - RACY_NS
    try:
        for place in [cwd / path for path in paths]:
            root = os.path.realpath(place)
            if not place.is_dir() or ignore_files_above(root, cwd_at):
                return None
            way = [root]
            while way:
                folder = way.pop()
                files, folders = _look_into(folder, settled_ns)
                digest.update(_END.join([folder, *sorted(files), ""]).encode(errors="surrogatepass"))
                way += sorted(one for one in folders if one != home_at)
    except (_Unclear, OSError):
        return None
    return digest.hexdigest()


class _Unclear(Exception):
    """Only a listing tells what there is."""


def _look_into(folder: str, settled_ns: int) -> tuple[list[str], list[str]]:
    """What the files of a folder look like, and which folders are in it.

    :param settled_ns: the time since which what is written may be written again without another time.
    """
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name[0] == ".":
                if name == IGNORE_FILE:
                    raise _Unclear
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_symlink():
                raise _Unclear
            elif not may_be_read(name):
                if entry.is_file():  # it is told that it is passed over
                    files.append(name)
            else:
                status = entry.stat()
                written_ns = status.st_mtime_ns
                if written_ns >= settled_ns or not stat.S_ISREG(status.st_mode):
                    raise _Unclear
                files.append(f"{name}\0{status.st_size}:{written_ns}")
    return files, folders
