"""What does MaxSim cost a question, with passages it has not seen and with ones it has kept? JSON on the last line."""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

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
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("--passages", type=int, nargs="+", default=[10, 20])
    given = arguments.parse_args()
    dataset = load_dataset(given.dataset)
    load = round(os.getloadavg()[0], 1)
    result: dict[str, object] = {
        "dataset": given.dataset.name,
        "questions": given.questions,
        "cores": os.cpu_count(),
    }
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
    result["load"] = {"before": load, "after": round(os.getloadavg()[0], 1)}
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
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
        "unseen_p95_ms": round(statistics.quantiles([one.clock for one in unseen], n=20)[18], 1),
        "unseen_processor_p50_ms": round(statistics.median(one.processor for one in unseen), 2),
        "kept_p50_ms": middle(again),
        "kept_processor_p50_ms": round(statistics.median(one.processor for one in again), 2),
    }


class Took(NamedTuple):
    """Milliseconds by the clock, and of the processor in all threads: what other jobs on the machine add to least."""

    clock: float
    processor: float


def timed(work: Callable[[], object]) -> Took:
    """How long it took."""
    started, used = time.perf_counter(), time.process_time()
    work()
    return Took((time.perf_counter() - started) * 1000, (time.process_time() - used) * 1000)


def middle(values: Sequence[Took]) -> float:
    """The median by the clock."""
    return round(statistics.median(one.clock for one in values), 2)


if __name__ == "__main__":
    main()
