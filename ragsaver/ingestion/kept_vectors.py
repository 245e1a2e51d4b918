"""What if the cache has lost a text's vector that the index has? It is taken from there, and not paid for again.

By the manifest, in the same collection: in the version that a document has, in documents of the same content, which
were renamed, moved or copied, and in those that the same run takes away. Nothing is looked for where the cache has all.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
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


class KeptVectors:
    """Where vectors may be, for one run in one collection.

    :param known: documents that are in.
    :param gone: those of them that the run takes away once all is brought in.
    """

    def __init__(
        self,
        index: VectorIndex,
        scope: Scope,
        known: Collection[DocumentRecord] = (),
        gone: Sequence[DocumentRecord] = (),
    ) -> None:
        self._index = index
        self._scope = scope
        self._known = known
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
            alike = self._by_content.get(change.record.content_hash)
            for prints in chain.from_iterable(record.chunks for record in (change.old, alike) if record):
                if prints.embedded in left:
                    found[prints.embedded] = prints.id
                    left.discard(prints.embedded)
        return found

    @cached_property
    def _by_content(self) -> Mapping[str, DocumentRecord]:
        return {record.content_hash: record for record in self._known}

    @cached_property
    def _of_gone(self) -> Mapping[str, str]:
        return {prints.embedded: prints.id for record in self._gone for prints in record.chunks}
