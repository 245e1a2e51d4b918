"""The windows in the ledger's database: made, read, locked together, added to.

They are locked in the order of their keys, so that no two transactions wait for each other.
"""

from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from ragsaver.dialects import POSTGRES, insert
from ragsaver.spend.budgets import Standing, Window
from ragsaver.spend.tables import windows as _windows

# Kept for all calls: it takes longer to put a statement together than to run it.
_MINE = _windows.c.id.in_(sa.bindparam("ids", expanding=True))
_STANDING = (_windows.c.id, _windows.c.spent, _windows.c.reserved)
_LOCK: dict[str, sa.Executable] = {
    POSTGRES: sa.select(*_STANDING).where(_MINE).order_by(_windows.c.id).with_for_update(),
    # A write, since in SQLite only that begins a transaction.
    "sqlite": sa.update(_windows).where(_MINE).values(spent=_windows.c.spent).returning(*_STANDING),
}
_READ = sa.select(*_STANDING).where(_MINE)
_ADD = (
    sa.update(_windows)
    .where(_MINE)
    .values(
        spent=_windows.c.spent + sa.bindparam("more_spent"),
        reserved=_windows.c.reserved + sa.bindparam("more_reserved"),
    )
)


def make(connection: sa.Connection, wanted: Sequence[Window]) -> None:
    """Those that are not there yet; in a transaction that holds none, or they would not be locked in order."""
    new = [asdict(window) | {"id": window.id, "spent": 0, "reserved": 0} for window in wanted]
    new.sort(key=lambda row: str(row["id"]))
    connection.execute(insert(connection.dialect.name, _windows).on_conflict_do_nothing(), new)


def locked(connection: sa.Connection, wanted: Sequence[Window]) -> list[Standing]:
    """Those that are there; nobody else changes them until the transaction ends."""
    return _standings(connection, wanted, _LOCK[connection.dialect.name])


def read(connection: sa.Connection, wanted: Sequence[Window]) -> list[Standing]:
    """Those that are there, as they are now."""
    return _standings(connection, wanted, _READ)


def add(connection: sa.Connection, wanted: Sequence[Window], *, spent: int = 0, reserved: int = 0) -> None:
    """Micro-dollars, to each."""
    ids = [window.id for window in wanted]
    connection.execute(_ADD, {"ids": ids, "more_spent": spent, "more_reserved": reserved})


def _standings(connection: sa.Connection, wanted: Sequence[Window], statement: sa.Executable) -> list[Standing]:
    by_id = {window.id: window for window in wanted}
    rows = connection.execute(statement, {"ids": list(by_id)}).all()
    return [Standing(by_id[row.id], row.spent, row.reserved) for row in rows]
