"""How often is a gold answer in what would be sent to the model, and how many tokens is that?"""

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

from ragsaver.components.packer import ContextPacker
from ragsaver.components.rerank import ConditionalReranker
from ragsaver.components.retriever import HybridRetriever
from ragsaver.errors import UsageError
from ragsaver.eval.dataset import load_dataset
from ragsaver.eval.harness import indexed
from ragsaver.settings import Settings


class ContextReport(BaseModel):
    """Means over the queries with gold answers; tokens include headings."""

    queries: int
    answer_in_context: float
    tokens_per_query: float


def evaluate_context(folder: Path, settings: Settings, budget_tokens: int) -> ContextReport:
    """Measure packing on a dataset; case and white space aside, a gold answer must stand in the context.

    :raises UsageError: if the dataset is wrong or has no gold answers.
    """
    if budget_tokens < 1:
        raise UsageError(f"the budget must be at least 1 token, got {budget_tokens}")
    dataset = load_dataset(folder)
    queries = [query for query in dataset.queries if query.answers]
    if not queries:
        raise UsageError("no query has gold answers", where=str(folder), remedy="Queries need `answers`")
    hits = tokens = 0
    with indexed(dataset, settings) as runtime:
        retriever, reranker, packer = HybridRetriever(), ConditionalReranker(), ContextPacker(budget_tokens)
        for component in (retriever, reranker, packer):
            component.bind(runtime.resources)
        for query in queries:
            found = retriever.run(query.text)["documents"]
            ordered = reranker.run(query.text, list(found))["documents"]
            packed = packer.run(query.text, list(ordered))["documents"]
            hits += holds_answer((document.content or "" for document in packed), query.answers)
            tokens += sum(int(document.meta["tokens"]) for document in packed)
    return ContextReport(
        queries=len(queries),
        answer_in_context=round(hits / len(queries), 4),
        tokens_per_query=round(tokens / len(queries), 1),
    )


def holds_answer(texts: Iterable[str], answers: Iterable[str]) -> bool:
    """Whether one of the answers stands in the texts, case and white space aside."""
    context = " ".join(map(_folded, texts))
    return any(_folded(answer) in context for answer in answers)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
