"""A ledger that an older version wrote is brought on, whole or not at all; one of a newer version is left alone."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from ragsaver.errors import StorageError
from ragsaver.settings import DatabaseSettings
from ragsaver.spend import ledger as ledgers
from tests.spend.ledgers import ledger
from tests.spend.test_ledger import ALICE, CALL, charge, hold


def add_column(connection: sa.Connection) -> None:
    connection.execute(sa.schema.CreateTable(sa.Table("more", sa.MetaData(), sa.Column("a", sa.Integer))))
    connection.execute(ledgers._windows.update().values(spent=ledgers._windows.c.spent + 1))


def break_off(connection: sa.Connection) -> None:
    raise RuntimeError("the power went")


def spent(tmp_path: Path, database: DatabaseSettings) -> set[int]:
    with ledger(tmp_path, database) as book, book.database.reading() as connection:
        return set(connection.scalars(sa.select(ledgers._windows.c.spent)))


def test_it_is_brought_on_once_and_in_one_piece(tmp_path: Path, database: DatabaseSettings, monkeypatch):
    with ledger(tmp_path, database) as book:
        book.settle(book.reserve(ALICE, CALL, hold(10), None, 60), charge(10))
    monkeypatch.setattr(ledgers, "SCHEMA", 3)
    with pytest.raises(StorageError, match="format 1"):
        spent(tmp_path, database)
    monkeypatch.setattr(ledgers, "STEPS", {1: add_column, 2: break_off})
    with pytest.raises(RuntimeError):
        spent(tmp_path, database)
    rise = ledgers._windows.update().values(spent=ledgers._windows.c.spent + 100)
    monkeypatch.setattr(ledgers, "STEPS", {1: add_column, 2: lambda connection: connection.execute(rise)})
    assert spent(tmp_path, database) == {111}
    assert spent(tmp_path, database) == {111}
    monkeypatch.setattr(ledgers, "SCHEMA", 1)
    with pytest.raises(StorageError, match="format 3"):
        spent(tmp_path, database)
