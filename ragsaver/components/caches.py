"""The caches of a process, and the truth that they are held against.

Without a truth (a component that plain Haystack runs) nothing is cached: an entry could not be checked.
"""

from collections.abc import Sequence
from typing import Protocol

from ragsaver.caching.entries import EntryStore, Place
from ragsaver.caching.guarded import Guarded
from ragsaver.caching.opening import open_entries
from ragsaver.caching.tally import Tally
from ragsaver.index.scope import Scope
from ragsaver.settings import Settings


class Truth(Protocol):
    """What is in, by whoever keeps the manifest."""

    def mark(self, scope: Scope) -> str:
        """Differs after every change of the collection."""
        ...

    def versions(self, scope: Scope, document_ids: Sequence[str]) -> dict[str, str]:
        """What differs whenever a document does, of those that are in."""
        ...


class Caches:
    """Opened at the first `hold_against`, closed by `close`.

    :ivar truth: None until somebody gives it: then nothing is cached.
    :ivar answers: None while there is no truth, or where the settings say so; `lookups` alike: of what was found, of
        questions' vectors, and of what models made of conversations.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.wishes = settings.cache
        self.tally = Tally()
        self.truth: Truth | None = None
        self.answers: EntryStore | None = None
        self.lookups: EntryStore | None = None

    def hold_against(self, truth: Truth) -> None:
        """Begin to cache."""
        self.truth = truth
        home, wishes = self._settings.home, self.wishes
        if wishes.answers != "off":
            self.answers = Guarded(open_entries(home, wishes, "answers"))
        if wishes.retrieval or wishes.embeddings or self._settings.generation.asks_about_conversations:
            self.lookups = Guarded(open_entries(home, wishes, "lookups"))

    def close(self) -> None:
        """Let go of the stores."""
        for store in (self.answers, self.lookups):
            if store is not None:
                store.close()
        self.truth = self.answers = self.lookups = None


def place_of(scope: Scope) -> Place:
    """Whose entries a call may see."""
    return Place.of(scope.tenant, scope.collection, scope.groups)
