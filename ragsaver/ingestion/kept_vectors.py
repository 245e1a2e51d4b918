"""What if the cache has lost a text's vector that the index has? It is taken from there, and not paid for again.

By the manifest, in the same collection: in the version that a document has, in documents of the same content, which
were renamed, moved or copied, and in those that the same run takes away. Nothing is looked for where the cache has all.
Workers that have no index leave such texts to the one who has it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ragsaver.caching.embeddings import rounded
from ragsaver.index.protocol import VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.ingestion.manifest import DocumentRecord
from ragsaver.ingestion.planning import Change

_AT_A_TIME = 1000

Alike = Callable[[str], DocumentRecord | None]


def among(known: Collection[DocumentRecord]) -> Alike:
    """Finds a document of these by the hash of its content."""
    by_content: dict[str, DocumentRecord] = {}

    def find(content_hash: str) -> DocumentRecord | None:
        if len(by_content) == 0:  # not before somebody looks: mostly the cache has all
            by_content.update((record.content_hash, record) for record in known)
        return by_content.get(content_hash)

    return find


def held_by(*records: DocumentRecord | None) -> set[str]:
    """What the index has vectors of, by what is embedded, as documents that are in tell; it takes no index to know."""
    return {prints.embedded for record in records if record for prints in record.chunks if prints.embedded}


class KeptVectors:
    """Where vectors may be, for one run in one collection.

    :param alike: gives a document that is in by the hash of its content.
    :param gone: documents that the run takes away once all is brought in.
    """

    def __init__(
        self,
        index: VectorIndex,
        scope: Scope,
        alike: Alike = lambda content_hash: None,
        gone: Sequence[DocumentRecord] = (),
    ) -> None:
        self._index = index
        self._scope = scope
        self._alike = alike
        self._gone = gone

    def vectors(self, batch: Iterable[Change], lacking: Collection[str]) -> dict[str, NDArray[np.float32]]:
        """Those that are there, as the cache would have them, by what is embedded; (dim,) float32 each.

        :param lacking: texts of the batch, by what is embedded.
        """
        if not lacking:
            return {}
        names = {point: name for name, point in self._points(batch, lacking).items()}
        ids = list(names)
        found: dict[str, NDArray[np.float32]] = {}
        for start in range(0, len(ids), _AT_A_TIME):
            some = self._index.vectors(self._scope, ids[start : start + _AT_A_TIME])
            found |= {names[point]: rounded(vector) for point, vector in some.items()}
        return found

    def _points(self, batch: Iterable[Change], lacking: Collection[str]) -> dict[str, str]:
        found = {one: self._of_gone[one] for one in lacking if one in self._of_gone}
        left = set(lacking) - found.keys()
        for change in batch:
            alike = self._alike(change.record.content_hash)
            for prints in chain.from_iterable(record.chunks for record in (change.old, alike) if record):
                if prints.embedded in left:
                    found[prints.embedded] = prints.id
                    left.discard(prints.embedded)
        return found

    @cached_property
    def _of_gone(self) -> Mapping[str, str]:
        return {prints.embedded: prints.id for record in self._gone for prints in record.chunks}
