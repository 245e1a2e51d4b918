"""What does each rung of the ladder lose in answers, beside the one above it? JSON on the last line.

    python benchmarks/rungs.py [--data FOLDER] [--questions N] [--pairs N]

`context`: how often a gold answer of SQuAD is in the context, and so could be given by any model, with the shipped gate
and MaxSim (as on `full`, where reranking is on) and without (`no-rerank`); `won` questions have one with reranking
only, `lost` ones without only. `extractive`: how often the free tier answers them, and with a gold answer, from the
passages of both orders; its context is that of the largest budget.

`cached`: of pairs of questions (Quora) the first was answered and kept, the second is asked where only kept answers are
given. `given` of those that ask the same get an answer, the rest is refused; `false` is the share of what is given at
all that is an answer to something else, by the labels and as read (see `semantic_cache.py`, whose rule is fitted on
these pairs). Pairs of the same question, word for word, are few there: what comes again is known of traffic only.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from haystack import Document
from numpy.typing import NDArray
from semantic_cache import as_read, cosines

from ragsaver.caching.agreement import bundled_agreement
from ragsaver.caching.normalising import normalised
from ragsaver.components.extractive import extract
from ragsaver.components.packer import ContextPacker
from ragsaver.components.rerank import ConditionalReranker
from ragsaver.components.retriever import HybridRetriever
from ragsaver.eval.context import holds_answer
from ragsaver.eval.dataset import Query, load_dataset
from ragsaver.eval.harness import indexed
from ragsaver.settings import RerankSettings, Settings, quiet_haystack

BUDGETS = (100, 200, 400)
FULL, NO_RERANK = "full", "no-rerank"
MODES = {FULL: "gated", NO_RERANK: "never"}

Flags = NDArray[np.bool_]


def main() -> None:
    """Measure both, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--questions", type=int, default=1455, help="of SQuAD's, evenly taken")
    parser.add_argument("--pairs", type=int, default=20_000, help="of questions, the first ones")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    quiet_haystack()
    report = {**answered(given.data / "squad", given.questions), "cached": kept(given.data, given.pairs)}
    if given.out:
        given.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))


def answered(folder: Path, count: int) -> dict[str, Any]:
    """What the rungs with and without reranking, and the free tier, make of SQuAD's questions."""
    dataset = load_dataset(folder)
    queries = [query for query in dataset.queries if query.answers]
    queries = queries[:: max(1, len(queries) // count)]
    # All passages are read once, and none too late: what is measured is the order, not the machine.
    settings = Settings(home=Path("unused"), rerank=RerankSettings(deadline_ms=60_000, cache_mb=1024))
    least = settings.generation.extractive_min_confidence
    held: dict[tuple[str, int], list[bool]] = {(rung, budget): [] for rung in MODES for budget in BUDGETS}
    free: dict[str, list[tuple[bool, bool]]] = {rung: [] for rung in MODES}
    with indexed(dataset, settings) as runtime:
        retriever = HybridRetriever()
        rerankers = {rung: ConditionalReranker(mode) for rung, mode in MODES.items()}
        packers = {budget: ContextPacker(budget) for budget in BUDGETS}
        for part in (retriever, *rerankers.values(), *packers.values()):
            part.bind(runtime.resources)
        for query in queries:
            found = retriever.run(query.text)["documents"]
            for rung, reranker in rerankers.items():
                ordered = list(reranker.run(query.text, list(found))["documents"])
                for budget, packer in packers.items():
                    packed = packer.run(query.text, ordered)["documents"]
                    held[rung, budget].append(holds_answer((one.content or "" for one in packed), query.answers))
                free[rung].append(by_free_tier(query, packed, least))
    return {
        "questions": len(queries),
        "context": {str(budget): compared(held[FULL, budget], held[NO_RERANK, budget]) for budget in BUDGETS},
        "extractive": {
            rung: {"answered": share([one for one, _ in told]), "right": share([right for _, right in told])}
            for rung, told in free.items()
        },
    }


def by_free_tier(query: Query, packed: Sequence[Document], least: float) -> tuple[bool, bool]:
    """Whether the free tier answers, and with a gold answer."""
    answer = extract(query.text, packed, least).text
    return answer is not None, answer is not None and holds_answer([answer], query.answers)


def compared(with_it: list[bool], without: list[bool]) -> dict[str, float]:
    """Shares of both, and in how many questions one of them only has it."""
    one, other = np.array(with_it), np.array(without)
    won, lost = int((one & ~other).sum()), int((other & ~one).sum())
    return {FULL: share(with_it), NO_RERANK: share(without), "won": won, "lost": lost}


def kept(data: Path, count: int) -> dict[str, Any]:
    """What is given of kept answers, and how much of it is wrong."""
    lines = (data / "paraphrases" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    labels = np.array([json.loads(line)["same"] for line in lines], dtype=np.float64)
    rows = [json.loads(line) for line in lines[:count]]
    rule = bundled_agreement()
    exact = np.array([normalised(row["a"]) == normalised(row["b"]) for row in rows])
    alike = np.array(
        [
            cosine >= rule.cosine_at_least and rule.holds(row["a"], row["b"], float(cosine))
            for row, cosine in zip(rows, cosines(rows, None), strict=True)
        ]
    )
    judged = {"labels": labels, "arguable_false": as_read(labels, 0), "arguable_right": as_read(labels, 1)}
    return {
        "pairs": len(rows),
        "exact": {name: given_of(exact, same[:count] > 0) for name, same in judged.items()},
        "semantic": {name: given_of(exact | alike, same[:count] > 0) for name, same in judged.items()},
    }


def given_of(hits: Flags, same: Flags) -> dict[str, float | None]:
    """Of pairs that ask the same how many are given, and how many of all that are given are wrong."""
    false = round(float((hits & ~same).sum() / hits.sum()), 4) if hits.any() else None
    return {"hits": int(hits.sum()), "given": round(float((hits & same).sum() / same.sum()), 4), "false": false}


def share(flags: Sequence[bool]) -> float:
    """Of them that are true."""
    return round(float(np.mean(flags)), 4)


if __name__ == "__main__":
    main()
