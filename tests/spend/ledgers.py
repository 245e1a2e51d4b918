"""Ledgers to try things on, and what has to be so of any of them at any time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from ragsaver.settings import BudgetSettings, DatabaseSettings, Settings
from ragsaver.spend.budgets import REQUEST, Budgets
from ragsaver.spend.ledger import Ledger, ledger_place
from ragsaver.spend.tables import entries, leases, windows
from tests.clock import Clock


def budget(scope: str, period: str, micro: int, name: str | None = None) -> BudgetSettings:
    return BudgetSettings(scope=scope, period=period, limit_usd=f"{micro / 1_000_000:.6f}", name=name)


@contextmanager
def ledger(
    home: Path, database: DatabaseSettings, wishes: list[BudgetSettings] = (), clock: Clock | None = None
) -> Iterator[Ledger]:
    place = ledger_place(Settings(home=home, database=database))
    made = Ledger(place, Budgets(wishes), clock or Clock())
    try:
        yield made
    finally:
        made.close()


def check(book: Ledger) -> None:
    """No budget is passed; what is spent is the sum of the entries, what is reserved the sum of the leases."""
    with book.database.writing() as connection:
        rows = connection.execute(sa.select(windows)).all()
        charges = connection.execute(sa.select(entries)).all()
        running = connection.execute(sa.select(leases)).all()
    for row in rows:
        assert row.spent == sum(one.cost for one in charges if _counts(one, row)), row
        assert row.reserved == sum(one.held for one in running if _counts(one, row)), row
        limits = book.budgets._limits
        limit = limits.get((row.kind, row.name, row.period)) or limits.get((row.kind, None, row.period))
        assert limit is None or row.spent + row.reserved <= limit, row


def _counts(one: sa.Row, window: sa.Row) -> bool:
    if window.kind == REQUEST:
        return one.ceiling and f"{one.tenant}/{one.request_id}" == window.name
    if not window.starts <= one.reserved_at < window.ends:
        return False
    principal = f"{one.tenant}/{one.principal}" if one.principal is not None else None
    names = {"total": "", "tenant": one.tenant, "pipeline": one.pipeline, "principal": principal}
    return names[window.kind] == window.name
