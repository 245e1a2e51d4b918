"""What SQLite and PostgreSQL say differently, so that whoever keeps something writes it once."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql.compiler import DDLCompiler, SQLCompiler

POSTGRES = "postgresql"

# By the number of the format that a step begins with.
Steps = Mapping[int, Callable[[sa.Connection], None]]

# SQLite takes 32,766 variables in a statement unless it was built otherwise, PostgreSQL 65,535.
VARIABLES = 10_000

# SQLite's integers have 64 bits.
LongInteger = sa.Integer().with_variant(sa.BigInteger(), POSTGRES)


def bring_on(connection: sa.Connection, found: int, version: int, steps: Steps | None) -> int:
    """Take the steps from one format to another; returns the format that was reached."""
    while found < version and steps is not None and found in steps:
        steps[found](connection)
        found += 1
    return found


def add_column(connection: sa.Connection, column: sa.Column[Any]) -> None:
    """A step: rows of the table as it was have the column's `server_default` from then on."""
    connection.execute(_AddColumn(column))


class _AddColumn(ExecutableDDLElement):
    def __init__(self, column: sa.Column[Any]) -> None:
        self.column = column


@compiles(_AddColumn)
def _add_column(element: _AddColumn, compiler: DDLCompiler, **more: Any) -> str:
    table = compiler.preparer.format_table(element.column.table)
    return f"ALTER TABLE {table} ADD COLUMN {compiler.get_column_specification(element.column)}"


def only_in(dialect: str) -> dict[str, str]:
    """For an index's `info`: it is made in this dialect only."""
    return {"only_in": dialect}


def indexes(table: sa.Table, dialect: str) -> list[sa.Index]:
    """Those of a table's indexes that are made in a dialect."""
    return [index for index in table.indexes if index.info.get("only_in", dialect) == dialect]


class AnyText(sa.types.TypeDecorator[str]):
    """A text with any characters: PostgreSQL's own texts hold no NUL."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        return dialect.type_descriptor(sa.LargeBinary() if dialect.name == POSTGRES else sa.String())

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> Any:
        return value if value is None or dialect.name != POSTGRES else value.encode()

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> str | None:
        return value if value is None or dialect.name != POSTGRES else bytes(value).decode()


class Words(sa.types.TypeDecorator[str]):
    """What is told to people; where PostgreSQL keeps it, a NUL in it is the sign for one that can't be shown."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return value if value is None or dialect.name != POSTGRES else value.replace("\0", "\N{REPLACEMENT CHARACTER}")


def insert(dialect: str, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An insertion that may go on to `on_conflict_do_update`."""
    return postgresql.insert(table) if dialect == POSTGRES else sqlite.insert(table)


@cache
def in_words(statement: sa.Executable) -> tuple[str, Sequence[str]]:
    """A statement that is kept for all calls, as SQLite takes it, and the names of its parameters in their order.

    An insertion has all columns but a number that the table counts by itself.
    """
    assert isinstance(statement, sa.ClauseElement)
    keys = None
    if isinstance(statement, sa.Insert):
        keys = [column.name for column in statement.table.c if column.autoincrement is not True]
    compiled = statement.compile(dialect=sqlite.dialect(), column_keys=keys)
    assert isinstance(compiled, SQLCompiler)
    return str(compiled), tuple(compiled.positiontup or ())


def run(connection: sa.Connection, statement: sa.Executable, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    """Run a statement that is kept for all calls and handles texts and numbers only; its rows, if it has any.

    SQLite gets it in words, on the connection's own transaction: all that SQLAlchemy does around a statement takes
    several times as long as the statement itself.
    """
    if connection.dialect.name == POSTGRES:
        result = connection.execute(statement, values)
        return result.all() if result.returns_rows else ()
    words, names = in_words(statement)
    return _driver(connection).execute(words, [values[name] for name in names]).fetchall()


def run_many(connection: sa.Connection, statement: sa.Insert, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert many rows of texts and numbers by a statement that is kept for all calls; each has another primary key."""
    if connection.dialect.name == POSTGRES:
        write_rows(connection, statement, rows)
        return
    words, names = in_words(statement)
    _driver(connection).executemany(words, ([row[name] for name in names] for row in rows))


def _driver(connection: sa.Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


# Kept for many calls: it takes longer to put a statement together than to run it.
@cache
def if_new(dialect: str, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An insertion that leaves rows of the same key as they are."""
    return insert(dialect, table).on_conflict_do_nothing()


@cache
def replace(dialect: str, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An insertion that overwrites rows of the same primary key."""
    statement = insert(dialect, table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={column.name: statement.excluded[column.name] for column in table.c},
    )


def write_rows(connection: sa.Connection, statement: sa.Insert, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert many rows; each has another primary key."""
    if not rows:
        return
    if connection.dialect.name == POSTGRES:
        # Rows that return something go in by the thousand; without, PostgreSQL is asked for each.
        statement = statement.returning(sa.literal_column("1"))
    connection.execute(statement, rows)


def lock(connection: sa.Connection, key: sa.Column[str], *where: sa.ColumnElement[bool]) -> None:
    """Lock rows before many are changed, in the order of their key, so that no two that do it wait for each other.

    SQLite has one writer at a time.
    """
    if connection.dialect.name == POSTGRES:
        connection.execute(sa.select(key).where(*where).order_by(key).with_for_update()).all()


def lock_rows(
    connection: sa.Connection, table: sa.Table, key: sa.Column[str], *where: sa.ColumnElement[bool]
) -> Sequence[sa.Row[Any]]:
    """Rows that stay as they are for others until the transaction ends, locked in the order of their key."""
    if connection.dialect.name == POSTGRES:
        return connection.execute(sa.select(table).where(*where).order_by(key).with_for_update()).all()
    # A write, since in SQLite only that begins a transaction.
    same = sa.update(table).where(*where).values({key.name: key})
    return connection.execute(same.returning(table)).all()


def chosen(some: sa.Select[tuple[str]]) -> sa.Select[tuple[str]]:
    """Keys of rows that the statement around it changes: chosen once, and those that another changes right now are
    passed over, so that nobody waits for them. Of such a statement SQLite counts no rows: let it return them.
    """
    once = some.with_for_update(skip_locked=True).cte("chosen")
    return sa.select(*once.c)


class json_length(sa.sql.functions.GenericFunction[int]):
    """The length of an array that is kept as JSON text."""

    type = sa.Integer()
    inherit_cache = True


@compiles(json_length)
def _json_length(element: json_length, compiler: SQLCompiler, **more: Any) -> str:
    return f"json_array_length({compiler.process(element.clauses, **more)})"


@compiles(json_length, POSTGRES)
def _json_length_of_text(element: json_length, compiler: SQLCompiler, **more: Any) -> str:
    return f"json_array_length(({compiler.process(element.clauses, **more)})::json)"
