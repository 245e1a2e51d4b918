"""Where is the manifest of an index? The only place that knows.

A SQLite manifest lies beside its index. In PostgreSQL each folder with an index has a schema of its own for its
manifest; a folder that a migration built keeps its schema's name in a file, which goes with it. Workers on other
machines have no such folders, nor has an owner that lost its disk: a note in the database says which schema is in use.
Where the index is in a server, that note is all that counts, on every machine.
"""

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa

from ragsaver.database import Place, schema_of
from ragsaver.index.store import current_store
from ragsaver.postgres import PostgresDatabase, PostgresSchema
from ragsaver.settings import Settings

NAME_FILE = "manifest.schema"

_FILE = "manifest.sqlite"
_SCHEMA = 1
_WHAT = "the note of which manifest is in use"

_metadata = sa.MetaData()
_in_use = sa.Table("in_use", _metadata, sa.Column("schema_name", sa.String, primary_key=True))


def manifest_place(settings: Settings, folder: Path) -> Place:
    """Where the manifest is of a folder with an index; of `home`, on a machine that has none.

    :raises StorageError: if the database can't be asked.
    """
    lasting = schema_of(settings, "_manifest")
    if lasting is None:
        return folder / _FILE
    name_file = folder / NAME_FILE
    if folder == settings.home or (settings.index.shared and folder == current_store(settings.home)):
        noted = _noted(settings)
        if noted or not name_file.exists():
            return PostgresSchema(lasting.url, noted or lasting.name)
    if not name_file.exists():
        name_file.write_text(f"{lasting.name}_{uuid.uuid4().hex[:12]}", encoding="utf-8")
    return PostgresSchema(lasting.url, name_file.read_text(encoding="utf-8"))


def place_in_use(settings: Settings) -> Place:
    """Where the manifest is that everybody works with now.

    :raises StorageError: if the database can't be asked.
    """
    return manifest_place(settings, current_store(settings.home))


def note_place(settings: Settings, place: PostgresSchema) -> bool:
    """Let everybody know which manifest is in use, in one transaction; false if it was noted before.

    :raises StorageError: if it can't be noted.
    """
    with notes(settings) as database, database.writing() as connection:
        if connection.scalar(sa.select(_in_use.c.schema_name)) == place.name:
            return False
        connection.execute(sa.delete(_in_use))
        connection.execute(sa.insert(_in_use).values(schema_name=place.name))
        return True


@contextmanager
def notes(settings: Settings) -> Iterator[PostgresDatabase]:
    """The schema with the note, made if it is not there."""
    place = schema_of(settings, "")
    assert place is not None
    with closing(PostgresDatabase(place, _WHAT)) as made:
        made.set_up((_metadata,), _SCHEMA, "Set `database.schema_name` to a new name and ingest again")
        yield made


def _noted(settings: Settings) -> str | None:
    place = schema_of(settings, "")
    assert place is not None
    with closing(PostgresDatabase(place, _WHAT)) as database, database.reading() as connection:
        there = sa.inspect(connection).has_table(_in_use.name, schema=place.name)
        return connection.scalar(sa.select(_in_use.c.schema_name)) if there else None
