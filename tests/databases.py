"""What keeps the state of a test: SQLite files always, a PostgreSQL too where RAGSAVER_TEST_POSTGRES_URL names one."""

import os
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from ragsaver.postgres import PostgresDatabase, PostgresSchema
from ragsaver.postgres_driver import open_server
from ragsaver.settings import DatabaseSettings

URL = os.environ.get("RAGSAVER_TEST_POSTGRES_URL", "")
needs_postgres = pytest.mark.skipif(not URL, reason="RAGSAVER_TEST_POSTGRES_URL is not set")
KINDS = ["sqlite", pytest.param("postgres", marks=needs_postgres)]


@contextmanager
def database(kind: str) -> Iterator[DatabaseSettings]:
    """Settings of a database that is the caller's alone, and goes with all that is in it."""
    if kind == "sqlite":
        yield DatabaseSettings()
        return
    made = DatabaseSettings(url=SecretStr(URL), schema_name=f"test_{uuid.uuid4().hex[:12]}")
    try:
        yield made
    finally:
        with closing(PostgresDatabase(PostgresSchema(made.url, made.schema_name), "a test")) as server:
            for name in schemas(made):
                server.drop(name)


def schemas(settings: DatabaseSettings) -> list[str]:
    """The schemas that a project has in PostgreSQL."""
    with asking(settings) as connection:
        there = sa.inspect(connection).get_schema_names()
    return sorted(name for name in there if name.startswith(settings.schema_name))


@contextmanager
def asking(settings: DatabaseSettings) -> Iterator[sa.Connection]:
    """A connection beside the store's own ones; what is done is done at once."""
    engine = open_server(settings.url)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection
    finally:
        engine.dispose()
