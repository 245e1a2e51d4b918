"""Open a project's manifest, find its jobs, and let everybody know which manifest is in use."""

from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from ragsaver.database import Place, schema_of
from ragsaver.index.manifest_place import NAME_FILE, manifest_place, note_place, notes
from ragsaver.ingestion.manifest import Manifest
from ragsaver.postgres import PostgresDatabase
from ragsaver.settings import Settings

_JOBS_FILE = "jobs.sqlite"


def jobs_place(settings: Settings) -> Place:
    """Where the jobs are."""
    return schema_of(settings, "_jobs") or settings.home / _JOBS_FILE


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
    if isinstance(place, Path) or note_place(settings, place):
        return
    with notes(settings) as database:
        for name in other_schemas(settings, place.name, database):
            database.drop(name)


def other_schemas(settings: Settings, in_use: str, database: PostgresDatabase) -> list[str]:
    """The project's manifests that are not in use, nor being built on this machine."""
    lasting = f"{settings.database.schema_name}_manifest"
    being_built = {file.read_text(encoding="utf-8") for file in settings.home.glob(f"*/{NAME_FILE}")}
    with database.reading() as connection:
        there = sa.inspect(connection).get_schema_names()
    ours = [name for name in there if name == lasting or name.startswith(f"{lasting}_")]
    return [name for name in ours if name not in being_built and name != in_use]


def asked_server(settings: Settings) -> str | None:
    """What keeps manifest and jobs, having been asked; None for SQLite files. Nothing is made.

    :raises StorageError: if it can't be reached, or its user may not make what is needed.
    """
    place = schema_of(settings, "")
    if place is None:
        return None
    with closing(PostgresDatabase(place, "the database")) as server:
        return f"PostgreSQL {server.version()} at {server.where}, schemas {place.name}*"
