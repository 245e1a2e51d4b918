"""The new half of a migration on disk: what it is built for, whether it is complete, and how it becomes the old one.

`home/next` holds index, manifest and two notes: `building.json` says by which model and recipe it is built, and
`ready.json`, once it is complete, which state of the old manifest it has reached. `home/next.lock` is held by whoever
works on it; the right to `home` is another one.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from ragsaver.errors import IndexLocked
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.opening import wanted_identity
from ragsaver.index.scope import Scope
from ragsaver.index.store import NEXT, current_store, discard_others, switch
from ragsaver.ingestion.manifest import Manifest
from ragsaver.ingestion.opening import note_in_use, open_manifest
from ragsaver.ingestion.preparing import recipe_of
from ragsaver.models.protocol import Encoder
from ragsaver.settings import Settings

_LOCK, _BUILDING, _READY = "next.lock", "building.json", "ready.json"


@dataclass(frozen=True, slots=True)
class Building:
    """What a half is built with; one that was built otherwise is of no use."""

    identity: IndexIdentity
    config: str

    @classmethod
    def of(cls, settings: Settings, encoder: Encoder) -> "Building":
        """What the settings mean."""
        identity = wanted_identity(
            settings.index, dim=encoder.dim, fingerprint=encoder.fingerprint, model_name=encoder.name
        )
        return cls(identity, recipe_of(settings, encoder.fingerprint).config)


class Half:
    """The half under a home, for one way of building it."""

    def __init__(self, home: Path, building: Building) -> None:
        self.folder = home / NEXT
        self._home = home
        self._text = json.dumps(asdict(building), sort_keys=True)

    def begun(self) -> bool:
        """Whether a half of this kind is there."""
        return _text(self.folder / _BUILDING) == self._text

    def begin(self) -> None:
        """Make it, or go on with it; one of another kind is removed. It is not ready from now on."""
        if not self.begun():
            self.remove()
            self.folder.mkdir(parents=True)
            (self.folder / _BUILDING).write_text(self._text, encoding="utf-8")
        (self.folder / _READY).unlink(missing_ok=True)

    def mark_ready(self, state: str) -> None:
        """It holds what the old manifest held in that state."""
        draft = self.folder / f"{_READY}.new"
        draft.write_text(state, encoding="utf-8")
        draft.replace(self.folder / _READY)

    def ready_for(self, state: str) -> bool:
        """Whether it is of this kind, complete, and up to date with the old manifest's state."""
        return self.begun() and _text(self.folder / _READY) == state

    def remove(self) -> bool:
        """Remove it, whatever its kind; true if there was one."""
        current_store(self._home)  # a switch that was cut short is completed first: then it is no half any more
        there = self.folder.exists()
        shutil.rmtree(self.folder, ignore_errors=True)
        return there

    def take_over(self) -> None:
        """Put it in the old one's place, and remove that. The caller owns `home`; nothing of either is open."""
        switch(self._home)
        discard_others(self._home)


@contextmanager
def holding(home: Path) -> Iterator[None]:
    """Hold the lock of the half under `home` for the code inside.

    :raises IndexLocked: if another process works on it.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise IndexLocked(
            "another `ragsaver migrate` is under way", where=str(home), remedy="Wait for it to end, or stop it"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def manifest_in_use(settings: Settings) -> Iterator[Manifest]:
    """The manifest of the half that serves; its owner may go on writing it."""
    manifest = open_manifest(settings, current_store(settings.home))
    try:
        yield manifest
    finally:
        manifest.close()


def take_ready(settings: Settings, encoder: Encoder) -> Path:
    """The folder of index and manifest; switches first to a half that is complete, by these settings and up to date.

    The caller owns `settings.home` and has nothing of it open.
    """
    home = settings.home
    if (home / NEXT / _READY).exists():
        half = Half(home, Building.of(settings, encoder))
        try:
            with holding(home):
                with manifest_in_use(settings) as old:
                    ready = half.ready_for(old.state())
                    if ready:
                        _bring_uses(old, settings, half.folder)
                if ready:
                    half.take_over()
        except IndexLocked:
            pass  # it is worked on, so it is not complete: the old one goes on
    store = current_store(home)
    if store != home:
        discard_others(home)
    note_in_use(settings, store)
    return store


def carry_over(old: Manifest, new: Manifest, scope: Scope) -> None:
    """A document is as old in the new half as in the old one, and was used when it was."""
    before = old.documents(scope)
    aged = [
        replace(record, ingested_at=before[source].ingested_at)
        for source, record in new.documents(scope).items()
        if source in before
        and before[source].content_hash == record.content_hash
        and before[source].ingested_at != record.ingested_at
    ]
    new.commit(scope, aged)
    new.uses.note(old.uses.of(scope))


def _bring_uses(old: Manifest, settings: Settings, folder: Path) -> None:
    new = open_manifest(settings, folder)
    try:
        for scope in old.scopes():
            new.uses.note(old.uses.of(scope))
        new.tombstones.become(old.tombstones)
    finally:
        new.close()


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.exists() else None
