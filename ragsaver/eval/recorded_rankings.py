"""Both orders of every question, recorded once: what tuning a gate tries its weights and thresholds on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from haystack import Document

from ragsaver.components.rerank_features import features
from ragsaver.components.rerank_order import mix, new_order
from ragsaver.components.rerank_outcome import outcome
from ragsaver.components.retriever import HybridRetriever
from ragsaver.eval.dataset import judged_queries, load_dataset
from ragsaver.eval.harness import indexed
from ragsaver.eval.metrics import ndcg
from ragsaver.settings import Settings

DEPTH = 10
_DEEP = 200  # passages, so that ten documents are among them


@dataclass(frozen=True, slots=True)
class Ranking:
    """One question.

    :ivar seen: what the gate sees, by `rerank_features.NAMES`.
    :ivar fused: scores of the passages that may be reranked, best first.
    :ivar reranked: the reranker's, in the same order.
    :ivar sources: their documents.
    :ivar beyond: documents of the passages after them, best first.
    """

    seen: tuple[float, ...]
    fused: tuple[float, ...]
    reranked: tuple[float, ...]
    sources: tuple[str, ...]
    beyond: tuple[str, ...]
    judged: dict[str, int]

    def never(self) -> float:
        """nDCG@10 of the fused order."""
        return self._ndcg(range(len(self.sources)))

    def always(self, weight: float) -> float:
        """nDCG@10 of the reranked order."""
        return self._ndcg(self._order(weight))

    def moved(self, weight: float) -> bool:
        """Whether reranking puts another passage first."""
        return self._order(weight)[0] != 0

    def outcome(self, weight: float) -> tuple[float, ...]:
        """What is seen once the reranker has answered, by `rerank_outcome.NAMES`."""
        return outcome(self.fused, self.reranked, mix(self.fused, self.reranked, weight))

    def _order(self, weight: float) -> list[int]:
        return new_order(mix(self.fused, self.reranked, weight))

    def _ndcg(self, order: Sequence[int]) -> float:
        documents = dict.fromkeys([*(self.sources[place] for place in order), *self.beyond])
        return ndcg(list(documents), self.judged, DEPTH)


def record(folder: Path, settings: Settings, progress: Callable[[int, int], None]) -> tuple[str, list[Ranking]]:
    """Rerank every judged question of a data set.

    :param progress: called with questions done and all of them.
    :returns: the reranker's name, and the rankings.
    :raises UsageError: if the dataset is wrong or has no judged query.
    :raises RerankError: if the reranker fails.
    """
    dataset = load_dataset(folder)
    queries = judged_queries(dataset, folder)
    rankings: list[Ranking] = []
    with indexed(dataset, settings) as runtime:
        reranking, scope = runtime.resources.reranking, runtime.scope()
        plain, deep = HybridRetriever(), HybridRetriever(candidates=settings.retrieval.candidates, top_k=_DEEP)
        for component in (plain, deep):
            component.bind(runtime.resources)
        for query in queries:
            top = plain.run(query.text)["documents"][: settings.rerank.top_n]
            if top:
                scores = reranking.scoring(query.text, top, scope)()
                rankings.append(
                    Ranking(
                        features(query.text, top, settings.tenant),
                        tuple(float(one.score or 0.0) for one in top),
                        tuple(scores.tolist()),
                        _sources(top),
                        _sources(deep.run(query.text)["documents"]),
                        dataset.judged[query.id],
                    )
                )
            progress(len(rankings), len(queries))
        return reranking.reranker.name, rankings


def _sources(passages: Sequence[Document]) -> tuple[str, ...]:
    return tuple(str(passage.meta["source"]) for passage in passages)
