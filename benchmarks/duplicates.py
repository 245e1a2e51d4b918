"""Of three versions of one documentation in one collection, how many of the top 10 say something of their own?

JSON on the last line. The questions of tests/data are asked with and without folding. Whether two passages are the
same is decided by runs of characters, not by the words that folding looks at. Pages about two products, or of two
versions, are often the same but for a name or a number, which is what a question may be about: so it is counted as well
how many repeat an earlier passage without a word of their own. Needs the extra `cpu`.
"""

import argparse
import json
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from doc_questions import QUESTIONS, answered, load_questions, plain
from haystack import Document

from ragsaver.components import deduplicator
from ragsaver.components.deduplicator import Folded
from ragsaver.components.fusion import Fusion, fuse
from ragsaver.components.retriever import HybridRetriever
from ragsaver.ingestion.order import IngestOrder
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings

VERSIONS = ("2.30", "2.31", "3.0")
TOP, DISTINCT_LIMIT, MS_LIMIT, PASSAGES = 10, 9, 3.0, 100
RUN, SAME = 6, 0.8


def main() -> None:
    """Ingest the versions, and ask."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, default=Path("../shared/data/docs-history"))
    arguments.add_argument("--questions", type=Path, default=QUESTIONS)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    questions = load_questions(given.questions)
    with tempfile.TemporaryDirectory() as home, open_runtime(Settings(home=Path(home)), "benchmark") as runtime:
        paths = tuple(str(given.data / version) for version in VERSIONS)
        runtime.ingestor.ingest(IngestOrder(paths=paths), runtime.scope())
        result = compare(runtime, questions)
    result["ok"] = (
        result["folded"]["distinct_mean"] >= DISTINCT_LIMIT
        and result["folded"]["answer_in_top"] >= result["plain"]["answer_in_top"]
        and result["fold_ms"] < MS_LIMIT
    )
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def compare(runtime: Runtime, questions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The top 10 with and without folding, and how long folding a hundred takes."""
    retriever = HybridRetriever(top_k=TOP)
    retriever.bind(runtime.resources)
    kinds: dict[str, list[list[Document]]] = {"plain": [], "folded": []}
    cold_ms: list[float] = []
    warm_ms: list[float] = []
    for question in questions:
        found = fused(runtime, question["text"])
        kinds["plain"].append(found[:TOP])
        kinds["folded"].append(list(retriever.run(question["text"])["documents"]))
        deduplicator.shingles.cache_clear()
        for took in (cold_ms, warm_ms):
            started = time.perf_counter()
            folded = Folded()
            for passage in found[:PASSAGES]:
                folded.put(passage)
            took.append((time.perf_counter() - started) * 1000)
    return {
        "questions": len(questions),
        **{kind: judged(tops, questions) for kind, tops in kinds.items()},
        "distinct_limit": DISTINCT_LIMIT,
        "fold_passages": PASSAGES,
        "fold_ms": round(statistics.median(cold_ms), 2),
        "fold_again_ms": round(statistics.median(warm_ms), 2),
        "fold_ms_limit": MS_LIMIT,
    }


def fused(runtime: Runtime, text: str) -> list[Document]:
    """A hundred passages in the fused order, copies and all."""
    scope, index, settings = runtime.scope(), runtime.resources.index, runtime.resources.settings.retrieval
    vector = runtime.resources.encoder.encode([text], query=True)[0]
    legs = index.search(scope, text, vector, settings.candidates)
    texts = {hit.id: hit.payload for hit in (*legs.dense, *legs.lexical)}
    order = fuse(
        *legs.scores(),
        settings.lexical_weight,
        Fusion(settings.fusion),
    )
    return [Document(id=key, content=str(texts[key]["text"]), meta=dict(texts[key])) for key, _ in order[:PASSAGES]]


def judged(tops: Sequence[Sequence[Document]], questions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Distinct passages in the top, and how often an answer stands there."""
    texts = [[passage.content or "" for passage in top] for top in tops]
    return {
        **counted("distinct", [distinct_of(top) for top in texts]),
        **counted("own_words", [distinct_of(top, own_words=True) for top in texts]),
        "answer_in_top": answered(questions, texts),
    }


def counted(name: str, distinct: Sequence[int]) -> dict[str, Any]:
    """Mean, least, in how many questions it is enough, and how often it is each number."""
    return {
        f"{name}_mean": round(statistics.fmean(distinct), 2),
        f"{name}_least": min(distinct),
        f"{name}_enough": round(statistics.fmean(one >= DISTINCT_LIMIT for one in distinct), 4),
        f"{name}_questions": dict(sorted(Counter(distinct).items())),
    }


def distinct_of(texts: Sequence[str], own_words: bool = False) -> int:
    """Texts of which less than so much stands in an earlier one, by runs of six characters.

    :param own_words: count those as well that have a word which that earlier one has not.
    """
    kept: list[tuple[set[str], set[str]]] = []
    count = 0
    for text in texts:
        told = plain(text)
        runs = {told[at : at + RUN] for at in range(max(1, len(told) - RUN + 1))}
        words = set(re.findall(r"\w+", told))
        same = [earlier for others, earlier in kept if len(runs & others) >= SAME * min(len(runs), len(others))]
        count += not same or (own_words and all(words - earlier for earlier in same))
        if not same or own_words:
            kept.append((runs, words))
    return count


if __name__ == "__main__":
    main()
