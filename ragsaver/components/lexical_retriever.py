"""Find passages by their words alone, with rank-bm25 in memory: for corpora so small that a plain scan does.

What is in memory is a reader's: the listed chunks that a scope and its groups may read. Whether it still stands is
told by the embedded index, which counts its changes; a server is asked with every question which ids are there. An id
stands for a text, so the same ids are the same texts. What a passage carries is read anew.
"""

import math
import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from itertools import islice
from typing import Any

from haystack import Document, component

from ragsaver.components.fusion import in_order, min_max
from ragsaver.components.passages import Passages
from ragsaver.components.request import require_time, stage
from ragsaver.components.resources import Bound
from ragsaver.components.retriever import passages_of
from ragsaver.errors import MissingExtra, UsageError
from ragsaver.index.protocol import VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.sentences import content_stems
from ragsaver.spend.receipt import current_receipt

_READERS = 16  # tenants, collections and groups whose chunks are kept; each is of `max_chunks` at most
_PAGE = 1000


@component
class LexicalRetriever(Bound):
    """BM25 over chunks in memory, within what the request may see; what says the same, once.

    ```python
    retriever = LexicalRetriever(top_k=10)
    passages = retriever.run("How do I reset a password?")["documents"]
    ```

    :param candidates: passages that are looked at; `retrieval.candidates` if None.
    :param top_k: passages that stay; `retrieval.top_k` if None.
    :param fall_off: share of the best score below which a passage does not stay, 0 to 1; `retrieval.fall_off` if None.
    :param least: passages that stay though their scores fall off; `retrieval.least` if None.
    :param max_chunks: of a reader in one collection; a larger one is refused.
    :raises ValueError: if a number is out of range.
    :raises MissingExtra: if rank-bm25 is not installed.
    """

    def __init__(
        self,
        candidates: int | None = None,
        top_k: int | None = None,
        max_chunks: int = 2000,
        fall_off: float | None = None,
        least: int | None = None,
    ) -> None:
        counts = {"candidates": candidates, "top_k": top_k, "max_chunks": max_chunks, "least": least}
        for name, number in counts.items():
            if number is not None and number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        if fall_off is not None and not 0.0 <= fall_off <= 1.0:
            raise ValueError(f"fall_off must be within 0 to 1, got {fall_off}")
        _okapi()
        self.candidates = candidates
        self.top_k = top_k
        self.max_chunks = max_chunks
        self.fall_off = fall_off
        self.least = least
        self._kept: OrderedDict[Scope, _Words] = OrderedDict()
        self._turn = threading.Lock()

    @component.output_types(documents=list[Document])
    def run(self, query: str, top_k: int | None = None) -> dict[str, Passages]:
        """Passages, best first; `score` is BM25's spread over 0 to 1, `meta["lexical_score"]` its own.

        :param query: the question.
        :param top_k: for this run only.
        :raises UsageError: if there are more chunks than `max_chunks`.
        """
        require_time()
        defaults = self.resources.settings.retrieval
        top_k = top_k or self.top_k or defaults.top_k
        candidates = max(self.candidates or defaults.candidates, top_k)
        scope = self.scope
        with stage("retrieve"):
            best = self._words(scope).best(query, candidates)
            fused, fall_off = in_order(min_max(best)), defaults.fall_off if self.fall_off is None else self.fall_off
            passages = passages_of(
                self.resources.index,
                scope,
                fused,
                {},
                best,
                top_k,
                "BM25 alone",
                fall_off,
                self.least or defaults.least,
            )
        receipt = current_receipt()
        receipt.whole_passage_tokens = tuple(int(passage.meta.get("tokens", 0)) for passage in passages)
        receipt.add("retrieve", "lexical search", len(passages), "passages", reason="in memory, no fee")
        return {"documents": passages}

    def _words(self, scope: Scope) -> "_Words":
        """The words of what a reader may read now."""
        index = self.resources.index
        changes = index.changes()
        with self._turn:
            kept = self._kept.get(scope)
        if kept and changes is not None and kept.seen == (index, changes):
            return kept
        ids = frozenset(islice((key for key, listed in index.ids(scope) if listed), self.max_chunks + 1))
        if len(ids) > self.max_chunks:
            raise UsageError(
                f"there are more than {self.max_chunks} chunks, too many to look at each for every question",
                where=f"LexicalRetriever, collection {scope.collection}",
                remedy="Take the HybridRetriever, or raise `max_chunks` of the LexicalRetriever",
            )
        with self._turn:
            kept = self._kept.pop(scope, None)
            if kept is None or kept.ids != ids:
                kept = _Words(ids, index, scope)
            kept.seen = index, changes
            self._kept[scope] = kept
            while len(self._kept) > _READERS:
                self._kept.popitem(last=False)
        return kept


class _Words:
    """The words of some chunks, counted."""

    def __init__(self, ids: frozenset[str], index: VectorIndex, scope: Scope) -> None:
        self.ids = ids
        self.seen: tuple[VectorIndex, int | None] = index, None  # where they were there, and after which change
        self._order = sorted(ids)
        carried = {
            key: payload
            for start in range(0, len(self._order), _PAGE)
            for key, payload in index.payloads(scope, self._order[start : start + _PAGE]).items()
        }
        chunks = [carried.get(key, {}) for key in self._order]  # one that has just gone is found by no word
        corpus = [content_stems(f"{one.get('heading') or ''}\n{one.get('text') or ''}") for one in chunks]
        self._bm25 = _counted(corpus) if any(corpus) else None

    def best(self, question: str, count: int) -> dict[str, float]:
        """Scores of those that have a word of the question."""
        if self._bm25 is None:
            return {}
        scores = self._bm25.get_scores(content_stems(question))
        found = {key: float(score) for key, score in zip(self._order, scores, strict=True) if score > 0}
        return dict(in_order(found)[:count])


def _counted(corpus: Sequence[Sequence[str]]) -> Any:
    """rank-bm25's index, with one added under the logarithm as Lucene and Qdrant do.

    Its own weights are below zero for a word of more than half of the chunks, and of few chunks that is many a word.
    """
    bm25 = _okapi()(corpus)
    chunks_with = Counter(word for words in bm25.doc_freqs for word in words)
    bm25.idf = {
        word: math.log(1 + (bm25.corpus_size - count + 0.5) / (count + 0.5)) for word, count in chunks_with.items()
    }
    return bm25


def _okapi() -> Any:
    try:
        from rank_bm25 import BM25Okapi
    except ImportError:
        raise MissingExtra(
            "the rank-bm25 package is not installed",
            where="LexicalRetriever",
            remedy='Install it with `pip install "ragsaver[lexical]"`, or take the HybridRetriever',
        ) from None
    return BM25Okapi
