"""A cache in a SQLite file, which keeps to its bound: what was used longest ago goes first."""

from pathlib import Path

import sqlalchemy as sa

from ragsaver.sqlite import SqliteDatabase

_FORMAT = 1
_REMEDY = "Free some space or check the folder's rights; the file may also be deleted: it is only a cache"

# Below the bound, so that not every write has to make room.
_EVICT_TO = 0.9


def open_cache(path: Path, what: str, tables: sa.MetaData) -> SqliteDatabase:
    """Open the file, or make it.

    :param what: it holds, for errors: `the embedding cache`.
    :raises StorageError: if it can't be opened or written.
    """
    database = SqliteDatabase(path, what, _REMEDY)
    database.set_up((tables,), _FORMAT, _REMEDY)
    return database


def evict(connection: sa.Connection, used_at: sa.Column[float], max_bytes: int) -> int:
    """Drop the longest unused rows of a table, if its file has grown past the bound.

    :param used_at: the table's column that says when a row was last used.
    :param max_bytes: ceiling for the file's used pages.
    :returns: bytes that were free below the bound; 0 where some had to go.
    """
    used = _used_bytes(connection)
    if used <= max_bytes:
        return max_bytes - used
    total = connection.scalar(sa.select(sa.func.count()).select_from(used_at.table)) or 0
    surplus = int(total * (1 - _EVICT_TO * max_bytes / used)) + 1
    last = connection.scalar(sa.select(used_at).order_by(used_at).offset(surplus - 1).limit(1))
    connection.execute(sa.delete(used_at.table).where(used_at <= last))
    return 0


def _used_bytes(connection: sa.Connection) -> int:
    pages, free, size = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar() or 0)
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size
