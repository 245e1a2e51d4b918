"""How well does retrieval find the judged documents, and what does a question cost?"""

import time
from collections.abc import Sequence
from pathlib import Path

from haystack import Document
from pydantic import BaseModel, Field

from ragsaver.components.evidence import Evidence, gathering
from ragsaver.components.rerank import FREE, ConditionalReranker
from ragsaver.components.rerank_watch import ANSWERED
from ragsaver.components.retriever import HybridRetriever
from ragsaver.eval.dataset import judged_queries, load_dataset
from ragsaver.eval.harness import indexed
from ragsaver.eval.metrics import mrr, ndcg, percentile, recall
from ragsaver.settings import Settings
from ragsaver.spend.receipt import ZERO, Usd, open_receipt

DEPTH = 100


class Latency(BaseModel):
    """Milliseconds."""

    p50: float
    p95: float


class RetrievalReport(BaseModel):
    """Means over the judged queries. Tokens are those of the passages that stay after fusion.

    `rerank_rate` is the share of queries that the reranker was asked and answered in time.
    """

    queries: int
    ndcg_at_10: float = Field(serialization_alias="ndcg@10")
    recall_at_10: float = Field(serialization_alias="recall@10")
    recall_at_100: float = Field(serialization_alias="recall@100")
    mrr_at_10: float = Field(serialization_alias="mrr@10")
    rerank_rate: float = 0.0
    tokens_per_query: float
    latency_ms: Latency
    cost_usd_per_query: Usd = ZERO


def evaluate_retrieval(folder: Path, settings: Settings) -> RetrievalReport:
    """Measure what searches give on a dataset; a document ranks where its best passage ranks.

    :raises UsageError: if the dataset is wrong or has no judged query.
    """
    dataset = load_dataset(folder)
    queries = judged_queries(dataset, folder)
    rankings: list[list[str]] = []
    spent_ms: list[float] = []
    tokens = 0
    cost_usd = ZERO
    with indexed(dataset, settings) as runtime:
        # as in `search.yaml`
        retriever = HybridRetriever(candidates=settings.retrieval.candidates, top_k=2 * DEPTH, thorough=True)
        plain, reranker = HybridRetriever(thorough=True), ConditionalReranker(otherwise=FREE)
        for component in (retriever, plain, reranker):
            component.bind(runtime.resources)
        for query in queries:
            # a question's evidence has its tokens, of the run that embeds it
            with open_receipt() as receipt, gathering(Evidence()):
                started = time.perf_counter()
                passages = plain.run(query.text)["documents"]
                found = reranker.run(query.text, list(passages))["documents"]
                spent_ms.append((time.perf_counter() - started) * 1000)
            cost_usd += receipt.close().cost_usd
            tokens += sum(int(passage.meta["tokens"]) for passage in found)
            rankings.append(_documents([*found, *retriever.run(query.text)["documents"]])[:DEPTH])
        decisions = runtime.resources.reranking.watch.decisions()
        reranked = sum(decisions[one] for one in ANSWERED)
    pairs = [(ranking, dataset.judged[query.id]) for ranking, query in zip(rankings, queries, strict=True)]
    count = len(queries)
    return RetrievalReport(
        queries=count,
        ndcg_at_10=round(sum(ndcg(r, j, 10) for r, j in pairs) / count, 4),
        recall_at_10=round(sum(recall(r, j, 10) for r, j in pairs) / count, 4),
        recall_at_100=round(sum(recall(r, j, DEPTH) for r, j in pairs) / count, 4),
        mrr_at_10=round(sum(mrr(r, j, 10) for r, j in pairs) / count, 4),
        rerank_rate=round(reranked / count, 4),
        tokens_per_query=round(tokens / count, 1),
        cost_usd_per_query=cost_usd / count,
        latency_ms=Latency(p50=round(percentile(spent_ms, 0.5), 2), p95=round(percentile(spent_ms, 0.95), 2)),
    )


def _documents(passages: Sequence[Document]) -> list[str]:
    """Documents in the order of their best passages, each once."""
    return list(dict.fromkeys(str(passage.meta["source"]) for passage in passages))
