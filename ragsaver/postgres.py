"""A PostgreSQL that several machines share: each store has a schema of its own, so that tables don't collide."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.exc import DBAPIError, TimeoutError

from ragsaver.dialects import POSTGRES, Steps, bring_on, indexes
from ragsaver.errors import StorageError, StorageUnavailable
from ragsaver.postgres_driver import PORT, open_server

# Of ours alone, in any database.
_SETTING_UP = 7_264_105_991

# SQLSTATEs of a server that stops, starts, or has no room for one more; it has none where the server is not reached.
_NOT_NOW = frozenset({"53300", "57P01", "57P02", "57P03"})
_AGAIN_S = 5.0
_STARTS = "The server stops or starts: try again when it runs"

# Names of tables and indexes.
_RELATIONS = sa.text(
    "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = :schema"
)

_format = sa.Table("format", sa.MetaData(), sa.Column("version", sa.Integer, nullable=False))


@dataclass(frozen=True, slots=True)
class PostgresSchema:
    """A schema of a PostgreSQL database.

    :param url: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, with `?sslmode=` or not.
    """

    url: SecretStr
    name: str

    def address(self) -> sa.URL:
        """The URL, taken apart."""
        return sa.make_url(self.url.get_secret_value())


class PostgresDatabase:
    """A `Database` in one schema. Made by `open_database`.

    :param what: it holds, for errors: `the manifest`.
    :raises MissingExtra: if the driver is not installed.
    """

    def __init__(self, schema: PostgresSchema, what: str) -> None:
        self._schema = schema
        self.where = place_of(schema.address())
        self._what = what
        self._engine = open_server(schema.url).execution_options(schema_translate_map={None: schema.name})

    def set_up(self, tables: Sequence[sa.MetaData], version: int, remedy: str, steps: Steps | None = None) -> None:
        """Make the schema and the tables that are not there; one of them says of which format they are."""
        wanted: list[sa.Table | sa.Index] = []
        for table in (_format, *(table for some in tables for table in some.sorted_tables)):
            wanted += (table, *indexes(table, POSTGRES))
        with self.writing() as connection:
            missing = self._missing(connection, wanted)
            if missing or (steps and _format_of(connection) != version):
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SETTING_UP)))
                missing = self._missing(connection, wanted)
            if steps and _format not in missing and (before := _format_of(connection)) != version:
                after = bring_on(connection, before, version, steps)
                connection.execute(sa.update(_format).values(version=after))
                missing = self._missing(connection, wanted)
            # Asked first: an index may be on columns that tables of another format lack.
            found = version if _format in missing else _format_of(connection)
            if found != version:
                raise StorageError(
                    f"this is format {found} of {self._what}, this RAGSaver reads {version}",
                    where=self.where,
                    remedy=remedy,
                )
            self._make(connection, missing, version)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection to read from."""
        with self._telling("read"), self._engine.connect() as connection, _letting_go(connection):
            yield connection

    def rows(self, statement: sa.Select[Any], values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """All rows."""
        with self.reading() as connection:
            return connection.execute(statement, values).all()

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction."""
        with self._telling("written"), self._engine.begin() as connection, _letting_go(connection):
            yield connection

    def version(self) -> str:
        """The server's version.

        :raises StorageError: if it does not let us in, or our schema is not there and we may not make it.
        """
        with self.reading() as connection:
            may = sa.func.has_database_privilege(sa.func.current_database(), "CREATE")
            if not sa.inspect(connection).has_schema(self._schema.name) and not connection.scalar(sa.select(may)):
                raise StorageError(
                    f"the schema {self._schema.name} is not there, and the user may make none",
                    where=self.where,
                    remedy=_grant(self._schema.address()),
                )
            return str(connection.scalar(sa.text("SHOW server_version"))).split()[0]

    def drop(self, schema: str) -> None:
        """Remove a schema of the same database with all that is in it."""
        with self.writing() as connection:
            connection.execute(sa.schema.DropSchema(schema, cascade=True, if_exists=True))

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    def _missing(self, connection: sa.Connection, wanted: Sequence[sa.Table | sa.Index]) -> list[sa.Table | sa.Index]:
        there = set(connection.scalars(_RELATIONS, {"schema": self._schema.name}))
        return [one for one in wanted if one.name not in there]

    def _make(self, connection: sa.Connection, missing: Sequence[sa.Table | sa.Index], version: int) -> None:
        if missing and not sa.inspect(connection).has_schema(self._schema.name):
            connection.execute(sa.schema.CreateSchema(self._schema.name))
        for one in missing:
            connection.execute(sa.schema.CreateTable(one) if isinstance(one, sa.Table) else sa.schema.CreateIndex(one))
        if _format in missing:
            connection.execute(sa.insert(_format).values(version=version))

    @contextmanager
    def _telling(self, done: str) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, TimeoutError, OSError) as error:
            raise told(error, f"{self._what} can't be {done}", self._schema.address()) from error


def _format_of(connection: sa.Connection) -> int:
    return connection.scalar(sa.select(_format.c.version)) or 0


def place_of(address: sa.URL) -> str:
    """An address without user and password."""
    return f"postgresql://{address.host or 'localhost'}:{address.port or PORT}/{address.database or ''}"


def told(error: Exception, problem: str, address: sa.URL) -> StorageError:
    """What the server, the driver or the network says, with what to do about it; never a password."""
    said, state = _said(error)
    user, database = address.username or "", address.database or ""
    remedies = {
        "28P01": "Correct user and password in `database.url`",
        "28000": f"Let `{user}` in: pg_hba.conf of the server says who may come from where",
        "3D000": f"Create it: createdb -O {user} {database}",
        "42501": _grant(address),
        "53100": "Free some space on the server's disk, then run the command again",
        "53300": "Raise the server's max_connections, or run fewer workers",
        "57P01": _STARTS,
        "57P02": _STARTS,
        "57P03": _STARTS,
        "22021": "Leave the character out: PostgreSQL's texts hold no NUL",
    }
    unreachable = "Start the server, or correct `database.url`; what is in stays in"
    remedy = remedies.get(state) or (unreachable if not state else "Look at the server's log, then run it again")
    if not state or state in _NOT_NOW:
        return StorageUnavailable(f"{problem}: {said}", where=place_of(address), remedy=remedy, retry_after_s=_AGAIN_S)
    return StorageError(f"{problem}: {said}", where=place_of(address), remedy=remedy)


def _grant(address: sa.URL) -> str:
    user, database = address.username, address.database
    return f'Give the right: GRANT CREATE ON DATABASE "{database}" TO "{user}", or let it own its schemas'


def _said(error: Exception) -> tuple[str, str]:
    """The server's message and its SQLSTATE; that is empty where the server did not get so far."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    fields = cause.args[0] if cause is not None and cause.args else None
    if isinstance(fields, dict):
        return str(fields.get("M", "the server refuses")), str(fields.get("C", ""))
    return str(cause), ""


@contextmanager
def _letting_go(connection: sa.Connection) -> Iterator[None]:
    """A connection whose network failed is of no use to anybody after us."""
    try:
        yield
    except OSError:
        with contextlib.suppress(Exception):
            connection.invalidate()
        raise
