"""Find the passages that may hold the answer, by words and by meaning, in one call to the index."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from haystack import Document, component
from numpy.typing import NDArray

from ragsaver.components.blending import blend_of, blended, most_of, why_here
from ragsaver.components.deduplicator import Folded, same_as
from ragsaver.components.evidence import current_evidence
from ragsaver.components.explain import current_explanation
from ragsaver.components.feedback import nearer
from ragsaver.components.fusion import Fusion, depth, fuse
from ragsaver.components.kept_passages import KeptPassages
from ragsaver.components.passages import Passages, passage_of
from ragsaver.components.request import require_time, stage
from ragsaver.components.rerank_gate import SHIPPED
from ragsaver.components.resources import Bound
from ragsaver.components.searching import BlendedSearch, Search, Steps, searched, searched_async
from ragsaver.index.blend import Blend
from ragsaver.index.keys import GROUPS, LISTED_IN, NOTHING, SCOPE
from ragsaver.index.protocol import AsyncIndex, VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.settings import RetrievalSettings, Settings
from ragsaver.spend.receipt import current_receipt

FuseIn = Literal["auto", "here", "engine"]
_NOT_TOLD = ("text", SCOPE, LISTED_IN, GROUPS)  # of a point's payload, in a passage's meta


@component
class HybridRetriever(Bound):
    """BM25 and vectors, fused by score, within what the request may see; what says the same, once.

    ```python
    retriever = HybridRetriever(top_k=10)
    passages = retriever.run("How do I reset a password?")["documents"]
    ```

    :param candidates: passages fetched by each leg; `retrieval.candidates` if None.
    :param top_k: passages that stay after fusion; `retrieval.top_k` if None.
    :param lexical_weight: share of BM25 in the fused score, 0 to 1; `retrieval.lexical_weight` if None.
    :param fusion: `minmax`, `zscore`, `rrf` or `dbsf`; `retrieval.fusion` if None.
    :param fall_off: share of the best score below which a passage does not stay, 0 to 1; `retrieval.fall_off` if None.
    :param least: passages that stay though their scores fall off; `retrieval.least` if None.
    :param fuse_in: `auto`, `here` or `engine`; `retrieval.fuse_in` if None. Where the engine fuses, passages have no
        scores of the legs.
    :param thorough: for who sees the order: with the bundled model, look a second time where the legs disagree, unless
        the settings say whether to.
    :raises ValueError: if a number is out of range.
    """

    def __init__(
        self,
        candidates: int | None = None,
        top_k: int | None = None,
        lexical_weight: float | None = None,
        fusion: str | None = None,
        fall_off: float | None = None,
        least: int | None = None,
        fuse_in: FuseIn | None = None,
        thorough: bool = False,
    ) -> None:
        for name, number in (("candidates", candidates), ("top_k", top_k), ("least", least)):
            if number is not None and number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        for name, share in (("lexical_weight", lexical_weight), ("fall_off", fall_off)):
            if share is not None and not 0.0 <= share <= 1.0:
                raise ValueError(f"{name} must be within 0 to 1, got {share}")
        if fusion is not None and fusion not in set(Fusion):
            raise ValueError(f"fusion must be one of {', '.join(Fusion)}, got {fusion}")
        self.candidates = candidates
        self.top_k = top_k
        self.lexical_weight = lexical_weight
        self.fusion = fusion
        self.fall_off = fall_off
        self.least = least
        if fuse_in not in (None, *get_args(FuseIn)):
            raise ValueError(f"fuse_in must be one of {', '.join(get_args(FuseIn))}, got {fuse_in}")
        self.fuse_in = fuse_in
        self.thorough = thorough
        self._legs_are_read, self._gate_looks = True, False

    def settings_of(self, settings: Settings) -> RetrievalSettings:
        """What decides where this component says nothing. A gate of one's own was tuned with what the settings say."""
        fitted = settings.embedding.is_bundled and settings.rerank.gate in SHIPPED
        measured = fitted and Fusion(self.fusion or settings.retrieval.fusion) is Fusion.MIN_MAX
        return settings.retrieval.thorough() if self.thorough and measured else settings.retrieval

    def why_here(self, settings: Settings) -> str | None:
        """Why the legs would be fused here by these settings; None where the engine would do it."""
        defaults = self.settings_of(settings)
        if (self.fuse_in or defaults.fuse_in) == "here":
            return "`fuse_in: here`"
        weight = defaults.lexical_weight if self.lexical_weight is None else self.lexical_weight
        embedded = settings.index.engine == "edge"
        fusion = Fusion(self.fusion or defaults.fusion)
        why = why_here(fusion, weight, defaults, lambda blend: blend.has_both if embedded else blend.is_even)
        return why or (None if self._leaves_legs(settings) else "the scores of each leg are looked at")

    def leave_legs(self, *, but_gated: bool = False) -> None:
        """Nothing of its pipeline looks at what each leg thought of a passage.

        :param but_gated: a reranker's gate does, if the settings want one.
        """
        self._legs_are_read, self._gate_looks = False, but_gated

    @component.output_types(documents=list[Document])
    def run(self, query: str, top_k: int | None = None) -> dict[str, Passages]:
        """Passages, best first; `score` is fused (0 to 1), `meta` keeps each leg's own score, if they were fused here.

        :param query: the question.
        :param top_k: for this run only.
        """
        return {"documents": searched(self._steps(query, top_k), self._index())}

    @component.output_types(documents=list[Document])
    async def run_async(self, query: str, top_k: int | None = None) -> dict[str, Passages]:
        """The same; an index that can be is asked on the running event loop, and all else is done in threads."""
        index = await asyncio.to_thread(self._index) if self._bound is None else self._bound.index
        if not isinstance(index, AsyncIndex):
            return await asyncio.to_thread(self.run, query, top_k)
        return {"documents": await searched_async(self._steps(query, top_k), index)}

    def _index(self) -> VectorIndex:
        return self.resources.index

    def _steps(self, query: str, top_k: int | None) -> Steps[Passages]:
        require_time()
        resources, scope = self.resources, self.scope
        defaults = self.settings_of(resources.settings)
        top_k = top_k or self.top_k or defaults.top_k
        wanted = _Wanted(
            query,
            scope,
            max(self.candidates or defaults.candidates, top_k),
            top_k,
            defaults.lexical_weight if self.lexical_weight is None else self.lexical_weight,
            defaults.fall_off if self.fall_off is None else self.fall_off,
            self.least or defaults.least,
            Fusion(self.fusion or defaults.fusion),
        )
        blend = None
        if self._leaves_legs(resources.settings):
            blend = blend_of(resources.index, wanted.fusion, wanted.lexical_weight, defaults)
        kept = KeptPassages.of(resources, scope, f"{wanted.told(defaults)} {'with' if blend is None else 'no'} legs")
        with stage("retrieve"):
            passages = kept.get() if kept else None
        reason = "found before, and nothing in the collection has changed since"
        if passages is None:
            reason = "local index, no fee"
            with stage("embed_query"):
                vector = resources.embed_question(query)
            if blend is not None:
                passages = yield from _blended(resources.index, wanted, vector, blend)
            if passages is None:
                passages = yield from _fused(resources.index, wanted, vector, defaults)
            if kept:
                with stage("retrieve"):
                    kept.put(passages)
        receipt = current_receipt()
        receipt.whole_passage_tokens = tuple(int(passage.meta.get("tokens", 0)) for passage in passages)
        receipt.add("retrieve", "hybrid search", len(passages), "passages", reason=reason)
        return passages

    def _leaves_legs(self, settings: Settings) -> bool:
        """Whether nobody looks at what each leg thought of a passage."""
        where = self.fuse_in or settings.retrieval.fuse_in
        read = self._legs_are_read or (self._gate_looks and settings.rerank.mode == "gated")
        unread = where == "engine" or (where == "auto" and not read)
        return unread and current_explanation() is None


class _Wanted(NamedTuple):
    """What is looked for, and how."""

    query: str
    scope: Scope
    candidates: int
    top_k: int
    lexical_weight: float
    fall_off: float
    least: int
    fusion: Fusion

    def told(self, defaults: RetrievalSettings) -> str:
        """All that decides what is found."""
        numbers = f"{self.candidates} {self.top_k} {self.lexical_weight} {self.fall_off} {self.least} {self.fusion}"
        return f"{numbers} {defaults.feedback_passages} {defaults.feedback_weight} {self.query}"


def _fused(
    index: VectorIndex, wanted: _Wanted, vector: NDArray[np.float32], defaults: RetrievalSettings
) -> Steps[Passages]:
    """Passages whose legs are fused here."""
    query, scope, candidates, top_k, weight, fall_off, least, fusion = wanted
    how = f"{fusion}, BM25 weighs {weight:g}"
    dense, lexical = (yield Search(scope, query, vector, candidates)).scores()
    with stage("retrieve"):
        fused = fuse(dense, lexical, weight, fusion)
        vector_again = nearer(index, scope, vector, fused, (dense, lexical), defaults)
    again: dict[str, float] = {}
    if vector_again is not None:
        again, _ = (yield Search(scope, "", vector_again, candidates)).scores()
    with stage("retrieve"):
        if again:
            fused = fuse(again, lexical, weight, fusion)
            how += f"; asked again nearer to the first {defaults.feedback_passages}"
        return passages_of(index, scope, fused, dense, lexical, top_k, how, fall_off, least)


def _blended(index: VectorIndex, wanted: _Wanted, vector: NDArray[np.float32], blend: Blend) -> Steps[Passages | None]:
    """Passages of which the engine makes one order; None where they are to be fused here after all."""
    query, scope, candidates, top_k, _, fall_off, least, fusion = wanted
    most = most_of(top_k)
    hits = yield BlendedSearch(scope, query, vector, candidates, blend, most)
    with stage("retrieve"):
        found = blended(index, query, hits, fusion)
        if found is None:
            return None
        passages = passages_of(index, scope, found.fused, {}, {}, top_k, "", fall_off, least, found.carried)
        worth = depth([score for _, score in found.fused], fall_off, least)
        # what was folded away may have left its place to a passage that was not asked for
        return None if len(passages) < top_k and worth == most else passages


def passages_of(
    index: VectorIndex,
    scope: Scope,
    fused: Sequence[tuple[str, float]],
    dense: Mapping[str, float],
    lexical: Mapping[str, float],
    top_k: int,
    how: str,
    fall_off: float,
    least: int,
    carried_by: Mapping[str, Mapping[str, Any]] | None = None,
) -> Passages:
    """The first passages, until their scores fall off; those that say the same as a better one are folded into it.

    :param fused: ids and scores, best first.
    :param dense: the vectors' own scores, by id.
    :param lexical: BM25's own scores, by id.
    :param how: the order came about, for who asks for an explanation.
    :param fall_off: as for `depth`, and so is `least`.
    :param carried_by: what each of them carries; asked of the index if None.
    """
    worth = depth([score for _, score in fused], fall_off, least)
    explanation = current_explanation()
    if explanation:
        explanation.fuse(how, fused, dense, lexical, index.payloads(scope, [key for key, _ in fused]))
        for key, _ in fused[worth:]:
            explanation.leave_out(key, f"its score is below {fall_off:g} of the best one's")
    folded = Folded(tenant=scope.tenant)
    taken = 0
    # what is folded away leaves its place to the next one
    while len(folded) < top_k and taken < worth:
        some = fused[taken : min(worth, taken + top_k - len(folded))]
        taken += len(some)
        if carried_by is None:
            carried = index.payloads(scope, [key for key, _ in some])
        else:
            carried = {key: carried_by[key] for key, _ in some}
        if evidence := current_evidence():
            evidence.read(carried)
        with stage("deduplicate"):
            for key, score in some:
                if key not in carried:
                    if explanation:
                        explanation.leave_out(key, "it was deleted a moment ago")
                    continue
                twin = folded.put(_document(key, carried[key], score, dense.get(key), lexical.get(key)))
                if twin and explanation:
                    explanation.leave_out(key, same_as(twin))
    passages = folded.passages()
    if explanation:
        for key, _ in fused[taken:worth]:
            explanation.leave_out(key, f"beyond the first {top_k}")
        explanation.order(passages)
    return passages


def _document(
    key: str, payload: Mapping[str, Any], score: float, dense: float | None, lexical: float | None
) -> Document:
    meta = dict(payload)
    for name in _NOT_TOLD:
        meta.pop(name, None)
    for name in NOTHING:
        if name in meta and not meta[name]:
            del meta[name]
    meta["dense_score"] = dense
    meta["lexical_score"] = lexical
    return passage_of(key, str(payload.get("text", "")), score, meta)
