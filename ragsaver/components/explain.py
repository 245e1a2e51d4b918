"""Why is a passage where it is? Stages write down what they decided, where somebody has asked for it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from haystack import Document
from pydantic import BaseModel, ConfigDict

from ragsaver.components.document_values import as_page, page_of, said_of, score_of
from ragsaver.components.fusion import in_order


class LegStanding(BaseModel):
    """Where one leg had a passage, from 1, and its raw score there: cosine, or BM25."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int
    score: float


class Place(BaseModel):
    """Where a text stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    heading: str
    page: int | None = None


class ExplainedPassage(BaseModel):
    """One passage that a leg found.

    :ivar page: on which it begins; None where its source has none.
    :ivar fused_rank: from 1, before anything was folded or reranked.
    :ivar rank: from 1, among the passages that stayed; None for others.
    :ivar reranked_score: None where no reranker looked at it.
    :ivar also_in: places of the passages that say the same and were folded into this one.
    :ivar tokens: that it got in the packed context; None where nothing was packed.
    :ivar left_out: why nothing of it goes on; None if something does.
    """

    model_config = ConfigDict(extra="forbid")

    id: str
    source: str = ""
    heading: str = ""
    page: int | None = None
    dense: LegStanding | None = None
    lexical: LegStanding | None = None
    fused_rank: int
    fused_score: float
    rank: int | None = None
    reranked_score: float | None = None
    also_in: tuple[Place, ...] = ()
    tokens: int | None = None
    left_out: str | None = None


class Explained(BaseModel):
    """What a question's stages decided, passages in the fused order.

    :ivar fusion: how both legs were put together, in words.
    :ivar rerank: what the gate decided, and why; None where no reranker was asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fusion: str
    rerank: str | None
    passages: tuple[ExplainedPassage, ...]


class Explanation:
    """What stages write while a question runs.

    :ivar rerank: what the gate decided, and why.
    """

    def __init__(self) -> None:
        self.rerank: str | None = None
        self._fusion = ""
        self._passages: dict[str, ExplainedPassage] = {}

    def fuse(
        self,
        how: str,
        fused: Sequence[tuple[str, float]],
        dense: Mapping[str, float],
        lexical: Mapping[str, float],
        carried: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """What the retriever found, best first; each leg's scores, and what the passages carry."""
        self._fusion = how
        by_dense, by_words = (
            {key: LegStanding(rank=rank, score=score) for rank, (key, score) in enumerate(in_order(leg), start=1)}
            for leg in (dense, lexical)
        )
        self._passages = {
            key: ExplainedPassage(
                id=key,
                source=str(carried.get(key, {}).get("source", "")),
                heading=str(carried.get(key, {}).get("heading", "")),
                page=as_page(carried.get(key, {}).get("page")),
                dense=by_dense.get(key),
                lexical=by_words.get(key),
                fused_rank=rank,
                fused_score=score,
            )
            for rank, (key, score) in enumerate(fused, start=1)
        }

    def leave_out(self, passage_id: str, why: str) -> None:
        """Nothing of a passage goes on."""
        if passage_id in self._passages:
            self._passages[passage_id].left_out = why

    def order(self, documents: Iterable[Document], *, reranked: int = 0) -> None:
        """The passages that go on, best first; those at the head that a reranker looked at have its scores."""
        for one in self._passages.values():
            one.rank = None
        for rank, document in enumerate(documents, start=1):
            one = self._known(document)
            one.rank = rank
            one.also_in = tuple(Place(**place) for place in document.meta.get("also_in", ()))
            if rank <= reranked:
                one.reranked_score = document.score

    def pack(self, documents: Sequence[Document], packed: Iterable[Document], whys: Sequence[str]) -> None:
        """What each passage got of the budget.

        :param documents: all that came to be packed, best first.
        :param whys: why nothing of each is packed, if nothing is.
        """
        given = {document.id: int(document.meta["tokens"]) for document in packed}
        self.order(documents)
        for document, why in zip(documents, whys, strict=True):
            one = self._known(document)
            one.tokens = given.get(document.id, 0)
            one.left_out = None if one.tokens else why
        for one in self._passages.values():
            if one.rank is None and one.left_out is None:
                one.left_out = "a component in front of the packer took it out"

    def told(self) -> Explained:
        """All of it."""
        return Explained(fusion=self._fusion, rerank=self.rerank, passages=tuple(self._passages.values()))

    def _known(self, document: Document) -> ExplainedPassage:
        """A passage; one that another retriever brought has no legs."""
        if document.id not in self._passages:
            self._passages[document.id] = ExplainedPassage(
                id=document.id,
                source=said_of(document, "source"),
                heading=said_of(document, "heading"),
                page=page_of(document),
                fused_rank=len(self._passages) + 1,
                fused_score=score_of(document),
            )
        return self._passages[document.id]


_current: ContextVar[Explanation | None] = ContextVar("ragsaver_explanation", default=None)


def current_explanation() -> Explanation | None:
    """Where the running request's stages write; None where nobody has asked."""
    return _current.get()


@contextmanager
def explaining(wanted: bool) -> Iterator[Explanation | None]:
    """Explain the code inside, if that is wanted."""
    explanation = Explanation() if wanted else None
    token = _current.set(explanation)
    try:
        yield explanation
    finally:
        _current.reset(token)
