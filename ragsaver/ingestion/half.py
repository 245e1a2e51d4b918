"""The new half of a migration: what it is built for, whether it is complete, and how it becomes the old one.

The folder that comes after the one in use (`store`) holds index, manifest and notes: `building.json` says by which
model and recipe it is built; `ready.json`, once it is complete, which state of the old manifest it has reached; and
`refused.json` why the old one's owner did not take it. Whoever works on it holds a lock (`migrating`); the right to
`home` is another one. An index in a server is a collection there, which the new manifest names (`generation`).
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ragsaver.errors import IndexLocked
from ragsaver.index.generation import settings_of
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.manifest_place import manifest_place, note_place, place_in_use
from ragsaver.index.opening import open_alike, wanted_identity
from ragsaver.index.protocol import VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.index.store import current_store, next_store, switch
from ragsaver.ingestion.cutting import recipe_of
from ragsaver.ingestion.manifest import Manifest
from ragsaver.ingestion.migrating import holding
from ragsaver.ingestion.opening import note_in_use, open_manifest
from ragsaver.ingestion.replaced import remove_begun, remove_replaced
from ragsaver.models.protocol import Encoder
from ragsaver.settings import Settings

_BUILDING, _READY, _REFUSED = "building.json", "ready.json", "refused.json"


@dataclass(frozen=True, slots=True)
class Building:
    """What a half is built with; one that was built otherwise is of no use.

    :ivar collection: of the server whose collection it is built beside; None for an embedded index.
    """

    identity: IndexIdentity
    config: str
    collection: str | None = None

    @classmethod
    def of(cls, settings: Settings, encoder: Encoder) -> "Building":
        """What the settings mean."""
        identity = wanted_identity(
            settings.index, dim=encoder.dim, fingerprint=encoder.fingerprint, model_name=encoder.name
        )
        collection = None if settings.index.engine == "edge" else settings.index.collection
        return cls(identity, recipe_of(settings, encoder.fingerprint).config, collection)

    def text(self) -> str:
        """The same for notes; two that are equal are noted alike."""
        return json.dumps({name: one for name, one in asdict(self).items() if one is not None}, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Ready:
    """How far a half is.

    :ivar state: of the old manifest, that it has reached.
    :ivar drop_missing: whether documents that can't be read any more may stay behind.
    """

    state: str
    drop_missing: bool = False


class Half:
    """The half under a home, for one way of building it."""

    def __init__(self, settings: Settings, building: Building) -> None:
        self.folder = next_store(settings.home)
        self._settings = settings
        self._text = building.text()

    def begun(self) -> bool:
        """Whether a half of this kind is there."""
        return _text(self.folder / _BUILDING) == self._text and not self.in_use()

    def begin(self) -> None:
        """Make it, or go on with it; one of another kind is removed. It is not ready from now on."""
        if not self.begun():
            self.remove()
            self.folder.mkdir(parents=True)
            _write(self.folder / _BUILDING, self._text)
        self.mark_unready()

    @contextmanager
    def opened(self, identity: IndexIdentity) -> Iterator[tuple[Manifest, VectorIndex]]:
        """Its manifest and its index, made if they are not there."""
        settings = self._settings
        with closing(open_manifest(settings, self.folder)) as manifest:
            if settings.index.engine != "edge":
                manifest.generation.begin(settings.index.collection, self._text)
            at = settings_of(settings.index, manifest.generation.get())
            with closing(open_alike(self.folder, at, identity)) as index:
                yield manifest, index

    def mark_ready(self, ready: Ready) -> None:
        """It holds what the old manifest held in that state."""
        (self.folder / _REFUSED).unlink(missing_ok=True)
        _write(self.folder / _READY, json.dumps(asdict(ready)))

    def mark_unready(self) -> None:
        """It may not be taken as it is."""
        (self.folder / _READY).unlink(missing_ok=True)

    def ready(self) -> Ready | None:
        """How far it is; None if it is not complete, or of another kind."""
        text = _text(self.folder / _READY) if self.begun() else None
        return None if text is None else Ready(**json.loads(text))

    def refusal(self) -> str | None:
        """Why the owner of the old half did not take it; None if it has not said so."""
        text = _text(self.folder / _REFUSED)
        return None if text is None else str(json.loads(text))

    def in_use(self) -> bool:
        """Whether it is no half any more: it has taken the old one's place."""
        there = self.folder.exists()
        return there and manifest_place(self._settings, self.folder) == place_in_use(self._settings)

    def remove(self) -> bool:
        """Remove it, whatever its kind; true if there was one.

        :raises IndexUnavailable: if the server that has a part of it does not answer; it is left then.
        """
        if current_store(self._settings.home) == self.folder:
            return False
        there = self.folder.exists() and not self.in_use()  # in use by what a database says, all here is notes
        if there:
            remove_begun(self._settings, self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        return there

    def take_over(self, old: Manifest, still: Callable[[], None] = lambda: None) -> None:
        """Put it in the old one's place; the caller owns `home`, or keeps all others from writing, and removes the old
        one once nothing is open of it.

        :param old: the manifest in use, in a state that the half has reached.
        :param still: asks, just before, whether nobody else writes yet.
        :raises StorageError: if the disk refuses, or the database; the old one stays in use then.
        """
        place = manifest_place(self._settings, self.folder)
        with closing(Manifest(place)) as new:
            bring_uses(old, new)
            new.tombstones.become(old.tombstones)
            new.named_by.become(old.named_by)
            new.changes.take_over(old.changes)
            new.generation.serves()
        still()
        if self._settings.index.shared and not isinstance(place, Path):
            note_place(self._settings, place)
            shutil.rmtree(self.folder, ignore_errors=True)  # the database says it all
        else:
            switch(self._settings.home, self.folder)


@contextmanager
def manifest_in_use(settings: Settings) -> Iterator[Manifest]:
    """The manifest of the half that serves; its owner may go on writing it."""
    manifest = open_manifest(settings, current_store(settings.home))
    try:
        yield manifest
    finally:
        manifest.close()


def waits_for_owner(home: Path) -> bool:
    """Whether a complete half is there that the owner of `home` has not looked at; a glance, no more."""
    folder = next_store(home)
    return (folder / _READY).exists() and not (folder / _REFUSED).exists()


def refuse(home: Path, reason: str) -> None:
    """Say why the half is not taken, so that it is not looked at again before somebody has mended it."""
    folder = next_store(home)
    try:
        _write(folder / _REFUSED, json.dumps(reason))
    except OSError:  # the disk is full: to say less is better than to try without end
        (folder / _READY).unlink(missing_ok=True)


def take_ready(settings: Settings, encoder: Encoder) -> Path:
    """The folder of index and manifest; switches first to a half that is complete, by these settings and up to date.

    The caller owns `settings.home` and has nothing of it open.
    """
    home = settings.home
    if (next_store(home) / _READY).exists():
        half = Half(settings, Building.of(settings, encoder))
        try:
            with holding(settings), manifest_in_use(settings) as old:
                ready = half.ready()
                if ready is not None and ready.state == old.state():
                    half.take_over(old)
        except IndexLocked:
            pass  # it is worked on, so it is not complete: the old one goes on
    remove_replaced(settings)
    note_in_use(settings, current_store(home))
    return current_store(home)


def carry_over(old: Manifest, new: Manifest, scope: Scope) -> None:
    """A document is as old in the new half as in the old one, and was used when it was."""
    before = old.documents(scope)
    aged = [
        record._replace(ingested_at=before[source].ingested_at)
        for source, record in new.documents(scope).items()
        if source in before
        and before[source].content_hash == record.content_hash
        and before[source].ingested_at != record.ingested_at
    ]
    new.commit(scope, aged)
    new.uses.note(old.uses.of(scope))


def bring_uses(old: Manifest, new: Manifest) -> None:
    """Documents were last used when they were in the old half."""
    for scope in old.scopes():
        new.uses.note(old.uses.of(scope))


def _write(file: Path, text: str) -> None:
    draft = file.with_name(f"{file.name}.new")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.exists() else None
