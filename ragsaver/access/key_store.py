"""Where API keys are kept: in a file under `home`, or in the PostgreSQL that `database.url` names."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ragsaver.access.identity import Permission
from ragsaver.access.key import Key
from ragsaver.access.secret import Presented, digest, new_id, new_secret
from ragsaver.database import Database, Place, copy_rows, open_database, schema_of
from ragsaver.errors import KeyNotFound
from ragsaver.settings import Settings

FORMAT = 1
_FILE = "keys.sqlite"
_REMEDY = "Restore the file from a backup, or remove it and make new keys"

_metadata = sa.MetaData()
_keys = sa.Table(
    "keys",
    _metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("principal", sa.String, nullable=False),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("groups", sa.JSON, nullable=False),
    sa.Column("permissions", sa.JSON, nullable=False),
    sa.Column("pipelines", sa.JSON(none_as_null=True)),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("secret_hash", sa.String, nullable=False),
    sa.Column("expires_at", sa.Float),
    sa.Column("revoked_at", sa.Float),
    sa.Column("last_used_at", sa.Float),
    sa.Column("previous_hash", sa.String),
    sa.Column("previous_until", sa.Float),
)


def keys_place(settings: Settings) -> Place:
    """Where a project's keys are."""
    return schema_of(settings, "_keys") or settings.home / _FILE


class KeyStore:
    """The keys of a project. A file is made with the first key, so that a project without any has none.

    :param clock: seconds since 1970.
    """

    def __init__(self, place: Place, clock: Callable[[], float] = time.time) -> None:
        self._place = place
        self._clock = clock
        self._opened: Database | None = None
        self._opening = threading.Lock()

    def create(
        self,
        principal: str,
        tenant: str,
        groups: Sequence[str] = (),
        permissions: Sequence[Permission] = (Permission.QUERY,),
        pipelines: Sequence[str] | None = None,
        lasts_s: float | None = None,
    ) -> tuple[Key, Presented]:
        """Make a key; its secret is told here and never again.

        :param lasts_s: seconds until it expires; never if None.
        """
        secret, now = new_secret(), self._clock()
        key = Key(
            id=new_id(),
            principal=principal,
            tenant=tenant,
            groups=tuple(sorted(set(groups))),
            permissions=tuple(sorted(set(permissions))),
            pipelines=tuple(dict.fromkeys(pipelines)) if pipelines else None,
            created_at=now,
            secret_hash=digest(secret),
            expires_at=None if lasts_s is None else now + lasts_s,
        )
        with self._database().writing() as connection:
            connection.execute(sa.insert(_keys).values(asdict(key)))
        return key, Presented(key.id, secret)

    def find(self, id: str) -> Key | None:
        """The key of an id."""
        if not self._there():
            return None
        with self._database().reading() as connection:
            row = connection.execute(sa.select(_keys).where(_keys.c.id == id)).first()
        return None if row is None else _key(row)

    def all(self) -> list[Key]:
        """Every key there ever was, oldest first."""
        if not self._there():
            return []
        with self._database().reading() as connection:
            return [_key(row) for row in connection.execute(sa.select(_keys).order_by(_keys.c.created_at, _keys.c.id))]

    def any(self) -> bool:
        """Whether there ever was a key, revoked ones included: a project does not open again by revoking its last."""
        if not self._there():
            return False
        with self._database().reading() as connection:
            return connection.execute(sa.select(_keys.c.id).limit(1)).first() is not None

    def revoke(self, id: str) -> Key:
        """Let a key let nobody in any more.

        :raises KeyNotFound: if there is none of that id.
        """
        key = self._require(id)
        if key.revoked_at is None:
            self._change(id, revoked_at=self._clock(), previous_hash=None, previous_until=None)
        return self._require(id)

    def rotate(self, id: str, overlap_s: float) -> tuple[Key, Presented]:
        """Give a key another secret; the one before is good for `overlap_s` seconds more.

        :raises KeyNotFound: if there is none of that id, or it lets nobody in any more.
        """
        key, now, secret = self._require(id), self._clock(), new_secret()
        if not key.good(now):
            raise KeyNotFound(f"the key is {key.state(now)}", where=id, remedy="Make a new one: ragsaver keys create")
        new = key.rotated(digest(secret), now, overlap_s)
        self._change(
            id, secret_hash=new.secret_hash, previous_hash=new.previous_hash, previous_until=new.previous_until
        )
        return self._require(id), Presented(id, secret)

    def note_use(self, id: str) -> None:
        """A key was used just now."""
        self._change(id, last_used_at=self._clock())

    def close(self) -> None:
        """Let go of file or server."""
        if self._opened is not None:
            self._opened.close()

    def _require(self, id: str) -> Key:
        key = self.find(id)
        if key is None:
            raise KeyNotFound("there is no such key", where=id, remedy="`ragsaver keys list` shows those there are")
        return key

    def copy_from(self, other: "KeyStore") -> dict[str, int]:
        """Take the keys of another store; how many rows, by table.

        :raises StorageError: if this one holds others, or can't take all of them; then it takes none.
        """
        return copy_rows(other._database(), self._database(), [_keys]) if other._there() else {}

    def _change(self, id: str, **values: Any) -> None:
        with self._database().writing() as connection:
            connection.execute(sa.update(_keys).where(_keys.c.id == id).values(values))

    def _there(self) -> bool:
        return self._opened is not None or not isinstance(self._place, Path) or self._place.exists()

    def _database(self) -> Database:
        with self._opening:
            if self._opened is None:
                if isinstance(self._place, Path):
                    self._place.parent.mkdir(parents=True, exist_ok=True)
                    self._place.touch(mode=0o600)
                opened = open_database(self._place, "the API keys", _REMEDY)
                opened.set_up((_metadata,), FORMAT, "Run the RAGSaver that wrote them, or make new keys elsewhere")
                self._opened = opened
            return self._opened


def open_keys(settings: Settings) -> KeyStore:
    """The keys of a project; the caller closes them."""
    return KeyStore(keys_place(settings))


def _key(row: sa.Row[Any]) -> Key:
    fields = dict(row._mapping)
    pipelines = fields["pipelines"]
    fields.update(
        groups=tuple(fields["groups"]),
        permissions=tuple(Permission(one) for one in fields["permissions"]),
        pipelines=None if pipelines is None else tuple(pipelines),
    )
    return Key(**fields)
