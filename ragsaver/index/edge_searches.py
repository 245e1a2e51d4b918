"""How a shard of the embedded engine is asked: both legs in one planned batch, side by side or made one order.

A search has a filter where points are there that it may not see, and word statistics of its own where others have
points (see `sight.py` and `corpus.py`); if that changed while it ran, it is run again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import qdrant_edge as qdrant
from numpy.typing import NDArray

from ragsaver.index.blend import Blend
from ragsaver.index.corpus import Corpus
from ragsaver.index.edge_requests import AskedLeg, blended, hits, listed_in, within
from ragsaver.index.keys import DENSE, LEXICAL
from ragsaver.index.protocol import Leg, LegHits
from ragsaver.index.scope import Scope
from ragsaver.index.sight import Sight
from ragsaver.index.swaps import Swaps

T = TypeVar("T")


class SearchedShard(ABC):
    """What an index on `qdrant_edge` answers."""

    _bm25: qdrant.Bm25
    _corpus: Corpus
    _dense_search: qdrant.SearchParams
    _sight: Sight
    _swaps: Swaps
    _tenant_idf: bool

    def search(
        self, scope: Scope, text: str, vector: NDArray[np.float32], limit: int, *, with_payload: bool = True
    ) -> LegHits:
        """Both legs in one planned batch; scores are cosine and BM25, as the engine gives them."""
        words = self._bm25.embed_query(text)
        answers = self._asked(scope, words, vector, limit, lambda legs: [one.request(with_payload) for one in legs])
        dense, lexical = (*answers, [])[:2]
        return LegHits(hits(scope, dense, with_payload), hits(scope, lexical, with_payload))

    def blends(self, blend: Blend) -> bool:
        """Whether each leg has a share."""
        return blend.has_both

    def blended(self, scope: Scope, text: str, vector: NDArray[np.float32], limit: int, blend: Blend, most: int) -> Leg:
        """The first passages of both legs together."""
        words = self._bm25.embed_query(text)
        (found,) = self._asked(scope, words, vector, limit, lambda legs: [blended(legs, blend, most)])
        # where both weigh alike the engine adds, and nothing else
        return hits(scope, found, True, blend.lexical_weight if blend.is_even and words.indices else 1.0)

    def _asked(
        self,
        scope: Scope,
        words: qdrant.SparseVector,
        vector: NDArray[np.float32],
        limit: int,
        requests_of: Callable[[Sequence[AskedLeg]], list[qdrant.QueryRequest]],
    ) -> list[list[qdrant.ScoredPoint]]:
        sight, corpus = self._sight.of(scope), self._corpus.of(scope)
        visible = listed_in(scope, sight.coming) if sight.filtered else None
        legs = [AskedLeg(vector.tolist(), DENSE, limit, visible, self._dense_search)]
        if words.indices:
            own = corpus if self._tenant_idf else None
            params = qdrant.SearchParams(idf=qdrant.IdfParams(corpus=within(own))) if own else None
            legs.append(AskedLeg(words, LEXICAL, limit, visible, params))
        requests = requests_of(legs)
        answers = self._swaps.undisturbed(
            lambda: self._read(lambda shard: shard.query_batch(qdrant.QueryBatchRequest(requests)))
        )
        # words of another scope's first point, or of a group's, may have counted; or points that may not be seen
        if corpus != self._corpus.of(scope) or sight != self._sight.of(scope):
            return self._asked(scope, words, vector, limit, requests_of)
        return answers

    @abstractmethod
    def _read(self, call: Callable[[qdrant.EdgeShard], T]) -> T:
        """What the shard in use says."""
