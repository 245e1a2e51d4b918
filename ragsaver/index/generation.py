"""Which of a server's collections has the points that a manifest speaks of? The manifest itself says so.

What was ingested first is in the collection that the settings name. A migration builds a collection beside it, whose
name ends with the name of its generation; that and the manifest take their places together, whatever says which
manifest is in use. No process meets vectors that its own model did not make: each asks the collection of its manifest.
"""

import time
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from ragsaver.database import Database, Place, open_database
from ragsaver.settings import IndexSettings

metadata = sa.MetaData()

_generation = sa.Table(
    "generation",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("built", sa.String, nullable=False),
    sa.Column("since", sa.Float),
)


@dataclass(frozen=True, slots=True)
class Generation:
    """What a migration has built at a server.

    :ivar name: ends the collection's name; given once, never again.
    :ivar collection: that the settings named when it was begun.
    :ivar built: by what, as whoever builds it writes that.
    :ivar since: seconds since 1970 when it took the old one's place; None while it is built.
    """

    name: str
    collection: str
    built: str
    since: float | None = None


class GenerationNote:
    """The note in the manifest's database; none of what was ingested first. Made by the manifest."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self) -> Generation | None:
        """What the manifest speaks of; None where that is in the collection of the settings."""
        with self._database.reading() as connection:
            return _noted(connection)

    def begin(self, collection: str, built: str) -> None:
        """Give it a name, before anything is made by that."""
        with self._database.writing() as connection:
            if _noted(connection) is None:
                connection.execute(
                    sa.insert(_generation).values(name=uuid.uuid4().hex[:12], collection=collection, built=built)
                )

    def serves(self) -> None:
        """It takes the old one's place now."""
        with self._database.writing() as connection:
            connection.execute(sa.update(_generation).values(since=time.time()))


def generation_at(place: Place) -> Generation | None:
    """What a manifest speaks of, without making one."""
    if isinstance(place, Path) and not place.exists():
        return None
    schema = None if isinstance(place, Path) else place.name
    with (
        closing(open_database(place, "the manifest", "Check the folder's rights")) as database,
        database.reading() as connection,
    ):
        return _noted(connection) if sa.inspect(connection).has_table(_generation.name, schema=schema) else None


def settings_of(index: IndexSettings, generation: Generation | None) -> IndexSettings:
    """The settings by which a generation's collection is opened."""
    return index if generation is None else index.of_generation(generation.name)


def settings_at(index: IndexSettings, place: Place) -> IndexSettings:
    """The settings by which the collection of the manifest at that place is opened."""
    return settings_of(index, generation_at(place))


def _noted(connection: sa.Connection) -> Generation | None:
    row = connection.execute(sa.select(_generation)).first()
    return None if row is None else Generation(row.name, row.collection, row.built, row.since)
