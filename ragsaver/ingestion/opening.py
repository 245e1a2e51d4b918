"""Which manifest is a project's, and where are its jobs? The only place that knows.

A SQLite manifest lies beside its index. In PostgreSQL each folder with an index has a schema of its own for its
manifest; a folder that a migration built keeps its schema's name in a file, which goes with it. Workers on other
machines have no such folders, nor has an owner that lost its disk: the owner notes for them which schema is in use.
"""

import uuid
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from ragsaver.database import Place, schema_of
from ragsaver.ingestion.manifest import Manifest
from ragsaver.postgres import PostgresDatabase, PostgresSchema
from ragsaver.settings import Settings

_FILE, _JOBS_FILE = "manifest.sqlite", "jobs.sqlite"
_NAME_FILE = "manifest.schema"
_SCHEMA = 1
_WHAT = "the note of which manifest is in use"

_metadata = sa.MetaData()
_in_use = sa.Table("in_use", _metadata, sa.Column("schema_name", sa.String, primary_key=True))


def jobs_place(settings: Settings) -> Place:
    """Where the jobs are."""
    return schema_of(settings, "_jobs") or settings.home / _JOBS_FILE


def manifest_place(settings: Settings, folder: Path) -> Place:
    """Where the manifest is of a folder with an index; of `home`, on a machine that has none.

    :raises StorageError: if the database can't be asked.
    """
    lasting = schema_of(settings, "_manifest")
    if lasting is None:
        return folder / _FILE
    if folder == settings.home:
        return PostgresSchema(lasting.url, _noted(settings) or lasting.name)
    name_file = folder / _NAME_FILE
    if not name_file.exists():
        name_file.write_text(f"{lasting.name}_{uuid.uuid4().hex[:12]}", encoding="utf-8")
    return PostgresSchema(lasting.url, name_file.read_text(encoding="utf-8"))


def open_manifest(settings: Settings, folder: Path) -> Manifest:
    """The manifest of a folder with an index; the caller closes it.

    :raises StorageError: if it can't be opened.
    """
    return Manifest(manifest_place(settings, folder))


def note_in_use(settings: Settings, folder: Path) -> None:
    """Let workers everywhere know which manifest is in use; the caller owns `home`.

    Manifests that are of no use any more are removed once nobody can have them open: when their successor was noted
    by an owner before.

    :raises StorageError: if it can't be noted.
    """
    place = manifest_place(settings, folder)
    if isinstance(place, Path):
        return
    with closing(_notes(settings)) as notes:
        with notes.writing() as connection:
            before = connection.scalar(sa.select(_in_use.c.schema_name))
            if before != place.name:
                connection.execute(sa.delete(_in_use))
                connection.execute(sa.insert(_in_use).values(schema_name=place.name))
                return
        _drop_others(settings, notes, place.name)


def asked_server(settings: Settings) -> str | None:
    """What keeps manifest and jobs, having been asked; None for SQLite files. Nothing is made.

    :raises StorageError: if it can't be reached, or its user may not make what is needed.
    """
    place = schema_of(settings, "")
    if place is None:
        return None
    with closing(PostgresDatabase(place, "the database")) as server:
        return f"PostgreSQL {server.version()} at {server.where}, schemas {place.name}*"


def _noted(settings: Settings) -> str | None:
    with closing(_notes(settings)) as notes, notes.reading() as connection:
        return connection.scalar(sa.select(_in_use.c.schema_name))


def _drop_others(settings: Settings, notes: PostgresDatabase, in_use: str) -> None:
    lasting = f"{settings.database.schema_name}_manifest"
    being_built = {file.read_text(encoding="utf-8") for file in settings.home.glob(f"*/{_NAME_FILE}")}
    with notes.reading() as connection:
        there = sa.inspect(connection).get_schema_names()
    for name in there:
        of_ours = name == lasting or name.startswith(f"{lasting}_")
        if of_ours and name not in being_built and name != in_use:
            notes.drop(name)


def _notes(settings: Settings) -> PostgresDatabase:
    place = schema_of(settings, "")
    assert place is not None
    made = PostgresDatabase(place, _WHAT)
    made.set_up((_metadata,), _SCHEMA, "Set `database.schema_name` to a new name and ingest again")
    return made
