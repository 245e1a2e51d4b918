"""Where it is kept what was said in requests: a file under `home`, readable by its owner only."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import sqlalchemy as sa

from ragsaver.database import open_database
from ragsaver.errors import StorageError
from ragsaver.logs.policy import Said
from ragsaver.sqlite import SqliteDatabase

FORMAT = 1
FILE = "content.sqlite"
_REMEDY = "Free some space, or remove the file: then what was kept is gone"

_metadata = sa.MetaData()
_said = sa.Table(
    "said",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("policy", sa.String, nullable=False),
    sa.Column("request_id", sa.String, nullable=False),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("principal", sa.String),
    sa.Column("pipeline", sa.String),
    sa.Column("outcome", sa.String, nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("contexts", sa.JSON, nullable=False),
    sa.Column("answer", sa.Text),
    sa.Index("said_at", "at"),
    sa.Index("said_tenant", "tenant", "at"),
)


class ContentStore:
    """What was said. The file is made with the first entry; without one there is nothing to read or to delete."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        self._opened: SqliteDatabase | None = None
        self._opening = threading.Lock()

    def add(self, some: Sequence[Said], policy: str) -> None:
        """Keep these, as they are.

        :raises StorageError: if that can't be done.
        """
        if some:
            rows = [{**asdict(one), "contexts": list(one.contexts), "policy": policy} for one in some]
            with self._database().writing() as connection:
                connection.execute(sa.insert(_said), rows)

    def all(self, tenant: str | None = None, limit: int | None = None) -> Iterator[tuple[str, Said]]:
        """What is kept, newest first, each with the policy that it was kept by.

        :raises StorageError: if it can't be read.
        """
        if not self._there():
            return
        asked = sa.select(_said).order_by(_said.c.number.desc()).limit(limit)
        if tenant is not None:
            asked = asked.where(_said.c.tenant == tenant)
        with self._database().reading() as connection:
            rows = [dict(row) for row in connection.execute(asked).mappings()]
        for row in rows:
            policy = row.pop("policy")
            del row["number"]
            yield policy, Said(**{**row, "contexts": tuple(row["contexts"])})

    def purge(self, tenant: str | None = None, before: float | None = None, principal: str | None = None) -> int:
        """Delete what meets every condition that is named; all if none is. The bytes leave the file too.

        :param before: seconds since 1970.
        :returns: how many entries were deleted.
        :raises StorageError: if that can't be done.
        """
        if not self._there():
            return 0
        deletion = sa.delete(_said)
        if tenant is not None:
            deletion = deletion.where(_said.c.tenant == tenant)
        if principal is not None:
            deletion = deletion.where(_said.c.principal == principal)
        if before is not None:
            deletion = deletion.where(_said.c.at < before)
        with self._database().writing() as connection:
            connection.execute(sa.text("PRAGMA secure_delete = ON"))
            deleted = int(connection.execute(deletion).rowcount)
        if deleted:
            self._empty_the_log()
        return deleted

    def close(self) -> None:
        """Let go of the file."""
        if self._opened is not None:
            self._opened.close()

    def _empty_the_log(self) -> None:
        """Pages as they were before stand in the write-ahead log until it is written back."""
        try:
            with closing(sqlite3.connect(self._path, timeout=30)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise StorageError(f"the content log can't be emptied: {error}", where=str(self._path)) from error

    def _there(self) -> bool:
        return self._opened is not None or self._path.exists()

    def _database(self) -> SqliteDatabase:
        with self._opening:
            if self._opened is None:
                try:
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    self._path.touch(mode=0o600)
                except OSError as error:
                    raise StorageError(
                        f"the content log can't be made: {error.strerror}", where=str(self._path), remedy=_REMEDY
                    ) from error
                opened = open_database(self._path, "the content log", _REMEDY)
                assert isinstance(opened, SqliteDatabase)
                opened.set_up((_metadata,), FORMAT, "Run the RAGSaver that wrote it, or remove it")
                self._opened = opened
            return self._opened
