"""What does MaxSim cost a question, with passages it has not seen and with ones it has kept? JSON on the last line."""

import argparse
import json
import statistics
import time
from pathlib import Path

from ragsaver.settings import Settings, quiet_haystack

quiet_haystack()

from ragsaver.components.rerank_features import features  # noqa: E402
from ragsaver.components.retriever import HybridRetriever  # noqa: E402
from ragsaver.eval.dataset import load_dataset  # noqa: E402
from ragsaver.eval.harness import indexed  # noqa: E402
from ragsaver.models.protocol import Encoder  # noqa: E402
from ragsaver.models.rerankers.maxsim import MaxSimReranker  # noqa: E402


def main() -> None:
    """Retrieve, then time what comes after."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--dataset", type=Path, default=Path("../shared/data/cranfield"))
    arguments.add_argument("--questions", type=int, default=60)
    arguments.add_argument("--passages", type=int, nargs="+", default=[10, 20])
    given = arguments.parse_args()
    dataset = load_dataset(given.dataset)
    result: dict[str, object] = {"dataset": given.dataset.name, "questions": given.questions}
    with indexed(dataset, Settings()) as runtime:
        retriever = HybridRetriever()
        retriever.bind(runtime.resources)
        asked = [query.text for query in dataset.queries[: given.questions]]
        found = [retriever.run(question)["documents"] for question in asked]
        seen = [timed(lambda q=q, f=f: features(q, f, "")) for q, f in zip(asked, found, strict=True)]
        again = [timed(lambda q=q, f=f: features(q, f, "")) for q, f in zip(asked, found, strict=True)]
        result["gate_ms"] = {"first": middle(seen), "again": middle(again)}
        for count in given.passages:
            texts = [[one.content or "" for one in passages[:count]] for passages in found]
            result[f"maxsim_{count}"] = cost(runtime.encoder, asked, texts)
    print(json.dumps(result))


def cost(encoder: Encoder, asked: list[str], texts: list[list[str]]) -> dict[str, float]:
    """Milliseconds of a question with passages that the model reads, and again with what it kept of them."""
    fresh, kept = MaxSimReranker(encoder, cache_mb=0), MaxSimReranker(encoder, cache_mb=1024)
    both = list(zip(asked, texts, strict=True))
    unseen = [timed(lambda q=q, t=t: fresh.score(q, t)) for q, t in both]
    for question, some in both:
        kept.score(question, some)
    again = [timed(lambda q=q, t=t: kept.score(q, t)) for q, t in both]
    return {
        "tokens": round(statistics.mean(sum(encoder.count_tokens(some)) for some in texts)),
        "unseen_p50_ms": middle(unseen),
        "unseen_p95_ms": round(statistics.quantiles(unseen, n=20)[18], 1),
        "kept_p50_ms": middle(again),
    }


def timed(work) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def middle(values: list[float]) -> float:
    """The median."""
    return round(statistics.median(values), 2)


if __name__ == "__main__":
    main()
