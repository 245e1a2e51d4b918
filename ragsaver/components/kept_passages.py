"""What a question found is found again without a search, as long as nothing in its collection changes."""

import json

from haystack import Document

from ragsaver import __version__
from ragsaver.caching.entries import EntryStore, Key
from ragsaver.components.caches import Caches, place_of
from ragsaver.components.evidence import Evidence, current_evidence
from ragsaver.components.explain import current_explanation
from ragsaver.components.passages import Passages, passage_of
from ragsaver.components.request import current_request
from ragsaver.components.resources import Resources
from ragsaver.index.scope import Scope

_KIND = "passages"


class KeptPassages:
    """The passages of one question. The collection's mark is in the key: what was found before a change is not found.

    Whatever is found, again or anew, becomes the question's evidence.
    """

    def __init__(self, caches: Caches, evidence: Evidence, key: Key | None, refresh: bool) -> None:
        self._caches = caches
        self._evidence = evidence
        self._store: EntryStore | None = caches.lookups if key else None
        self._key = key
        self._refresh = refresh

    @classmethod
    def of(cls, resources: Resources, scope: Scope, asked: str) -> "KeptPassages | None":
        """None where nothing is kept: outside a question, or where its stages are to be explained.

        :param asked: the question, and whatever else decides what is found.
        """
        caches, evidence, request = resources.caches, current_evidence(), current_request()
        if evidence is None or request is None or current_explanation() is not None:
            return None
        key = None
        if evidence.mark is not None and caches.wishes.retrieval and caches.lookups is not None:
            index = resources.settings.index.model_dump_json(exclude={"url", "api_key", "timeout_s", "deadline_s"})
            made_by = (__version__, resources.encoder.fingerprint, index)
            key = Key.of(place_of(scope), _KIND, *made_by, evidence.mark, asked)
        return cls(caches, evidence, key, request.caching == "refresh")

    def get(self) -> Passages | None:
        """What was found before; None if nothing was."""
        if self._store is None or self._key is None or self._refresh:
            return None
        kept = self._store.get(self._key)
        self._caches.tally.count("retrieval", "misses" if kept is None else "hits")
        if kept is None:
            return None
        found: list[Document] = []
        for chunk_id, content, score, stamp, meta in json.loads(kept):
            self._evidence.note(chunk_id, str(meta.get("document_id", "")), stamp)
            found.append(passage_of(chunk_id, content, score, meta))
        return Passages(found)

    def put(self, passages: Passages) -> None:
        """Keep what was found."""
        if self._store is None or self._key is None:
            return
        rows = [[one.id, one.content, one.score, self._evidence.stamp(one.id), one.meta] for one in passages]
        self._store.put(self._key, json.dumps(rows).encode(), self._caches.wishes.ttl_s)
