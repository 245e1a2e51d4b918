"""The most that each window ever had spent and held together, noted by the database itself with every change."""

from collections.abc import Mapping

import sqlalchemy as sa

from ragsaver.postgres import PostgresSchema
from ragsaver.spend.budgets import REQUEST, Window
from ragsaver.spend.ledger import Ledger
from ragsaver.spend.tables import windows

_SQLITE = (
    "CREATE TABLE peaks (id TEXT PRIMARY KEY, most INTEGER NOT NULL)",
    """CREATE TRIGGER note_peak AFTER UPDATE ON windows BEGIN
        INSERT INTO peaks VALUES (NEW.id, NEW.spent + NEW.reserved)
        ON CONFLICT (id) DO UPDATE SET most = max(most, excluded.most);
    END""",
)
_POSTGRES = (
    "CREATE TABLE {0}.peaks (id TEXT PRIMARY KEY, most BIGINT NOT NULL)",
    """CREATE FUNCTION {0}.note_peak() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO {0}.peaks VALUES (NEW.id, NEW.spent + NEW.reserved)
        ON CONFLICT (id) DO UPDATE SET most = greatest(peaks.most, excluded.most);
        RETURN NULL;
    END $$""",
    "CREATE TRIGGER note_peak AFTER UPDATE ON {0}.windows FOR EACH ROW EXECUTE FUNCTION {0}.note_peak()",
)
_PEAKS = sa.Table("peaks", sa.MetaData(), sa.Column("id", sa.String), sa.Column("most", sa.BigInteger))


def note_peaks(book: Ledger) -> None:
    """From now on, whoever writes."""
    place = book._place
    statements = _SQLITE
    if isinstance(place, PostgresSchema):
        statements = tuple(one.format(place.name) for one in _POSTGRES)
    with book.database.writing() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def check_peaks(book: Ledger, ceilings: Mapping[str, int] | None = None) -> None:
    """No budget was passed at any moment, by whoever wrote.

    :param ceilings: micro-dollars that single requests might cost, by `TENANT/REQUEST`.
    """
    with book.database.reading() as connection:
        rows = connection.execute(sa.select(windows, _PEAKS.c.most).where(windows.c.id == _PEAKS.c.id)).all()
    assert rows
    for row in rows:
        window = Window(row.kind, row.name, row.period, row.starts, row.ends)
        limit = (ceilings or {}).get(row.name) if row.kind == REQUEST else book.budgets.limit(window)
        assert limit is None or row.most <= limit, row
