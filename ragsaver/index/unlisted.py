"""Which of a shard's points may no question find yet? A file beside it names them, also after a stop."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from ragsaver.errors import StorageError
from ragsaver.index.lasting import changing, put

_FILE = "unlisted.json"


class UnlistedFile:
    """The file under `folder`; where there is none, there are no such points.

    :ivar now: their ids, by their scopes' keys; another mapping after each change.
    :raises StorageError: if it can't be read: none of them must be shown.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / _FILE
        self.now: Mapping[str, frozenset[str]] = {}
        if not self._file.exists():
            return
        try:
            said = json.loads(self._file.read_text(encoding="utf-8"))
            self.now = {str(key): frozenset(map(str, ids)) for key, ids in said.items()}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise StorageError(
                f"does not say which points are not to be found yet: {error}",
                where=str(self._file),
                remedy="Restore it, or delete it and run `ragsaver verify`",
            ) from error

    def write(self, now: Mapping[str, frozenset[str]]) -> None:
        """These are all, by their scopes' keys, from now on and lastingly.

        :raises StorageError: if the disk refuses; it says what it said before.
        """
        some = {key: ids for key, ids in now.items() if ids}
        with changing(self._file):
            if some:
                put(self._file, json.dumps({key: sorted(ids) for key, ids in some.items()}))
            else:
                self._file.unlink(missing_ok=True)
        self.now = some

    def join(self, more: Mapping[str, Collection[str]]) -> None:
        """These come to those that it names.

        :raises StorageError: if the disk refuses; it says what it said before.
        """
        if more:
            self.write({**self.now, **{key: self.now.get(key, frozenset()).union(ids) for key, ids in more.items()}})

    def keep(self, there: Collection[str]) -> None:
        """It names points that were never written: forget all but those that are there.

        :raises StorageError: if the disk refuses; it says what it said before.
        """
        now = {key: ids.intersection(there) for key, ids in self.now.items()}
        if now != self.now:
            self.write(now)
