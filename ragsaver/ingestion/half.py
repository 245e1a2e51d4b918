"""The new half of a migration on disk: what it is built for, whether it is complete, and how it becomes the old one.

The folder that comes after the one in use (`store`) holds index, manifest and notes: `building.json` says by which
model and recipe it is built; `ready.json`, once it is complete, which state of the old manifest it has reached; and
`refused.json` why the old one's owner did not take it. `home/next.lock` is held by whoever works on it; the right to
`home` is another one.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ragsaver.errors import IndexLocked
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.opening import wanted_identity
from ragsaver.index.scope import Scope
from ragsaver.index.store import current_store, discard_others, next_store, switch
from ragsaver.ingestion.cutting import recipe_of
from ragsaver.ingestion.manifest import Manifest
from ragsaver.ingestion.opening import note_in_use, open_manifest
from ragsaver.models.protocol import Encoder
from ragsaver.settings import Settings

_LOCK, _BUILDING, _READY, _REFUSED = "next.lock", "building.json", "ready.json", "refused.json"


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

    def __init__(self, home: Path, building: Building) -> None:
        self.folder = next_store(home)
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
            _write(self.folder / _BUILDING, self._text)
        self.mark_unready()

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
        return current_store(self._home) == self.folder

    def remove(self) -> bool:
        """Remove it, whatever its kind; true if there was one."""
        there = self.folder.exists()
        shutil.rmtree(self.folder, ignore_errors=True)
        return there

    def take_over(self, old: Manifest, settings: Settings) -> None:
        """Put it in the old one's place; the caller owns `home`, and removes the old one once nothing is open of it.

        :param old: the manifest in use, in a state that the half has reached.
        :raises StorageError: if the disk refuses; the old one stays in use then.
        """
        with closing(open_manifest(settings, self.folder)) as new:
            bring_uses(old, new)
            new.tombstones.become(old.tombstones)
        switch(self._home, self.folder)


@contextmanager
def holding(home: Path) -> Iterator[FileLock]:
    """Hold the lock of the half under `home` for the code inside, which may let go of it sooner.

    :raises IndexLocked: if another process works on it.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / _LOCK)
    hold(lock)
    try:
        yield lock
    finally:
        lock.release()


def hold(lock: FileLock) -> None:
    """Take the lock of a half.

    :raises IndexLocked: if another process works on it.
    """
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise IndexLocked(
            "another `ragsaver migrate` is under way",
            where=str(Path(lock.lock_file).parent),
            remedy="Wait for it to end, or stop it",
        ) from None


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
        half = Half(home, Building.of(settings, encoder))
        try:
            with holding(home), manifest_in_use(settings) as old:
                ready = half.ready()
                if ready is not None and ready.state == old.state():
                    half.take_over(old, settings)
        except IndexLocked:
            pass  # it is worked on, so it is not complete: the old one goes on
    discard_others(home)
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
