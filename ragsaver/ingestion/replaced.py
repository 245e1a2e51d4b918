"""What a migration has replaced, or left before its end, goes: folder, schema, and the collection at the server.

The points go first, so that whoever is stopped in between finds, by the manifest, what is left to remove. At a server
that several processes use nobody knows who has still the old half; it stays for `index.keep_replaced_s`.
"""

import time
from contextlib import closing
from pathlib import Path
from typing import Any

from ragsaver.database import Place
from ragsaver.errors import IndexLocked
from ragsaver.index.generation import Generation, generation_at
from ragsaver.index.manifest_place import manifest_place, notes, place_in_use
from ragsaver.index.opening import drop_server
from ragsaver.index.store import discard_others, other_stores
from ragsaver.ingestion.manifest import Manifest
from ragsaver.ingestion.migrating import holding
from ragsaver.ingestion.opening import other_schemas
from ragsaver.postgres import PostgresSchema
from ragsaver.settings import Settings


def remove_begun(settings: Settings, folder: Path) -> None:
    """What a half has at the servers that was begun in this folder and is not in use; the folder is left.

    :raises IndexUnavailable: if the server does not answer; nothing is removed then.
    """
    if settings.index.engine == "edge":
        return
    place = manifest_place(settings, folder)
    begun = generation_at(place)
    if begun is not None:
        _drop(settings, begun)
    if isinstance(place, PostgresSchema):
        with notes(settings) as database:
            database.drop(place.name)


def remove_replaced(settings: Settings) -> None:
    """What is not in use any more; the caller owns `home`, and nobody has anything of it open."""
    if settings.index.engine != "edge":
        _remove_points(settings, [manifest_place(settings, store) for store in other_stores(settings.home)])
    discard_others(settings.home)


def remove_when_due(settings: Settings) -> bool:
    """What was replaced at a server that several processes use, if it was so long ago that nobody has it open; true
    if nothing is left of it.
    """
    in_use = place_in_use(settings)
    now = generation_at(in_use)
    if now is None or now.since is None or not _left(settings, in_use):
        return True
    if time.time() < now.since + settings.index.keep_replaced_s:
        return False
    try:
        with holding(settings):  # what is being built on another machine looks like what was left
            if place_in_use(settings) != in_use:
                return False
            if isinstance(in_use, Path):
                remove_replaced(settings)
                return True
            with notes(settings) as database:
                for place in _left(settings, in_use):
                    _remove_points(settings, [place])
                    database.drop(place.name)
    except IndexLocked:
        return False
    return True


def _left(settings: Settings, in_use: Place) -> list[Any]:
    """Manifests that are not in use any more."""
    if isinstance(in_use, Path):
        places = [manifest_place(settings, store) for store in other_stores(settings.home)]
        return [place for place in places if _is_there(place)]
    with notes(settings) as database:
        return [PostgresSchema(in_use.url, name) for name in other_schemas(settings, in_use.name, database)]


def _remove_points(settings: Settings, places: list[Place]) -> None:
    """What manifests have at the server that served until now; nothing that the one in use names."""
    in_use = _name(generation_at(place_in_use(settings)))
    for place in places:
        generation = generation_at(place)
        if _name(generation) == in_use or not _is_there(place):
            continue
        if generation is not None:
            _drop(settings, generation)
            continue
        with closing(Manifest(place)) as manifest:  # other projects may have points in the collection of the settings
            scopes = manifest.scopes()
        drop_server(settings.index, scopes)


def _drop(settings: Settings, generation: Generation) -> None:
    """By the name it was given, and by the one that it has if the settings have been changed since."""
    for collection in sorted({generation.collection, settings.index.collection}):
        index = settings.index.model_copy(update={"collection": collection})
        drop_server(index.of_generation(generation.name))


def _name(generation: Generation | None) -> str | None:
    return None if generation is None else generation.name


def _is_there(place: Place) -> bool:
    return not isinstance(place, Path) or place.exists()
