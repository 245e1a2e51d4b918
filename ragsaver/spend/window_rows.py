"""The windows in the ledger's database: made, read, locked together, added to.

They are locked in the order of their keys, so that no two transactions wait for each other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from ragsaver.database import Database
from ragsaver.dialects import POSTGRES, insert, run
from ragsaver.spend.budgets import Standing, Window
from ragsaver.spend.tables import windows as _windows


class _Statements(NamedTuple):
    """Kept for all calls that want so many windows; `id0`, `id1` … are the parameters."""

    lock: dict[str, sa.Executable]
    read: sa.Select[Any]
    add: sa.Executable


@cache
def _statements(many: int) -> _Statements:
    mine = _windows.c.id.in_([sa.bindparam(f"id{n}") for n in range(many)])
    standing = (_windows.c.id, _windows.c.spent, _windows.c.reserved)
    read = sa.select(*standing).where(mine)
    # A write, since in SQLite only that begins a transaction.
    begin = sa.update(_windows).where(mine).values(spent=_windows.c.spent).returning(*standing)
    more_spent = _windows.c.spent + sa.bindparam("more_spent")
    more_reserved = _windows.c.reserved + sa.bindparam("more_reserved")
    add = sa.update(_windows).where(mine).values(spent=more_spent, reserved=more_reserved)
    return _Statements({POSTGRES: read.order_by(_windows.c.id).with_for_update(), "sqlite": begin}, read, add)


def make(connection: sa.Connection, wanted: Sequence[Window]) -> None:
    """Those that are not there yet; in a transaction that holds none, or they would not be locked in order."""
    new = [asdict(window) | {"spent": 0, "reserved": 0} for window in wanted]
    new.sort(key=lambda row: str(row["id"]))
    connection.execute(insert(connection.dialect.name, _windows).on_conflict_do_nothing(), new)


def locked(connection: sa.Connection, wanted: Sequence[Window]) -> list[Standing]:
    """Those that are there; nobody else changes them until the transaction ends."""
    lock = _statements(len(wanted)).lock[connection.dialect.name]
    return _standings(wanted, run(connection, lock, _named(wanted)))


def lock(connection: sa.Connection, wanted: Sequence[Window]) -> None:
    """Before they are added to without a look at them. SQLite has one writer at a time."""
    if connection.dialect.name == POSTGRES:
        locked(connection, wanted)


def read(database: Database, wanted: Sequence[Window]) -> list[Standing]:
    """Those that are there, as they are now."""
    return _standings(wanted, database.rows(_statements(len(wanted)).read, _named(wanted)))


def add(connection: sa.Connection, wanted: Sequence[Window], *, spent: int = 0, reserved: int = 0) -> None:
    """Micro-dollars, to each."""
    values = {**_named(wanted), "more_spent": spent, "more_reserved": reserved}
    run(connection, _statements(len(wanted)).add, values)


def _named(wanted: Sequence[Window]) -> dict[str, str | int]:
    return {f"id{n}": window.id for n, window in enumerate(wanted)}


def _standings(wanted: Sequence[Window], rows: Iterable[Sequence[Any]]) -> list[Standing]:
    by_id = {window.id: window for window in wanted}
    return [Standing(by_id[name], spent, reserved) for name, spent, reserved in rows]
