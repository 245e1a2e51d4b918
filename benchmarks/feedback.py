"""What does asking again, nearer to the best passages, gain and lose? JSON on the last line.

Every judged question of some data sets is searched once; where the legs disagree, again for each way: nDCG@10 by
passages, weight and BM25's share. `cross_validated` is what a set gets when the way is chosen on the other questions of
all sets, which count alike. Then the questions about long pages (tests/data): how often the packed context holds the
answer, by budget, if they are asked once, and if they are asked again.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from doc_questions import QUESTIONS, answered, load_questions

from ragsaver.components.feedback import asked_again
from ragsaver.components.fusion import Fusion, fuse
from ragsaver.components.packer import ContextPacker
from ragsaver.components.retriever import HybridRetriever
from ragsaver.eval.dataset import judged_queries, load_dataset
from ragsaver.eval.harness import indexed
from ragsaver.eval.metrics import ndcg
from ragsaver.ingestion.order import IngestOrder
from ragsaver.pipelines.runtime import open_runtime
from ragsaver.settings import RetrievalSettings, Settings

DEPTH, FOLDS, BUDGETS = 10, 5, (100, 200, 400, 800)
ONCE = "once"
WAYS = [
    RetrievalSettings(feedback_passages=passages, feedback_weight=weight, lexical_weight=share)
    for passages in (1, 3, 5, 8)
    for weight in (0.4, 0.7, 1.0)
    for share in (0.5, 0.55)
]
MEANT = RetrievalSettings(feedback_passages=3, feedback_weight=0.7, lexical_weight=0.5)


def main() -> None:
    """Measure, and compare."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--dataset", type=Path, action="append", required=True)
    arguments.add_argument("--docs", type=Path, default=Path("../shared/data/docs-history/3.0"))
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    gains: dict[str, dict[str, list[float]]] = {}
    asked_twice: dict[str, float] = {}
    for folder in given.dataset:
        found = list(measured(folder))
        name = folder.resolve().name
        gains[name] = {way: [one[way] for one in found] for way in found[0]}
        asked_twice[name] = mean([one["again"] for one in found])
        print(name, mean(gains[name][ONCE]), mean(gains[name][named(MEANT)]), asked_twice[name])
    ways = [way for way in next(iter(gains.values())) if way != "again"]
    rows = [{"way": way, **{name: mean(found[way]) for name, found in gains.items()}} for way in ways]
    result = {
        "ndcg@10": sorted(rows, key=lambda row: -statistics.fmean(row[name] for name in gains)),
        "meant": named(MEANT),
        "asked_twice": asked_twice,
        "cross_validated": cross_validated(gains, [way for way in ways if way != ONCE]),
        "answer_in_context": answers(given.docs),
    }
    more = [mean(found[result["meant"]]) - mean(found[ONCE]) for found in gains.values()]
    result["ok"] = statistics.fmean(more) > 0 and min(more) > -0.002
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def named(way: RetrievalSettings) -> str:
    """A way to ask again, in a word."""
    return f"{way.feedback_passages} passages, weight {way.feedback_weight:g}, BM25 {way.lexical_weight:g}"


def measured(folder: Path) -> Iterator[dict[str, float]]:
    """For each question: the gain of asking once and of each way, and under `again` whether the legs disagreed."""
    dataset, settings = load_dataset(folder), Settings()
    queries = judged_queries(dataset, folder)
    with indexed(dataset, settings) as runtime:
        index, scope = runtime.resources.index, runtime.scope()
        candidates = settings.retrieval.candidates
        sources: dict[str, str] = {}

        def gain(
            dense: Mapping[str, float], lexical: Mapping[str, float], share: float, judged: Mapping[str, int]
        ) -> float:
            order = [one for one, _ in fuse(dense, lexical, share, Fusion.MIN_MAX)]
            if new := [one for one in order if one not in sources]:
                sources.update((one, str(carried["source"])) for one, carried in index.payloads(scope, new).items())
            return ndcg(list(dict.fromkeys(sources[one] for one in order)), judged, DEPTH)

        for query in queries:
            vector = runtime.encoder.encode([query.text], query=True)[0]
            dense, lexical = index.search(scope, query.text, vector, candidates, with_payload=False).scores()
            judged = dataset.judged[query.id]
            found = {ONCE: gain(dense, lexical, settings.retrieval.lexical_weight, judged), "again": 0.0}
            for way in WAYS:
                fused = fuse(dense, lexical, way.lexical_weight)
                again = asked_again(index, scope, vector, fused, (dense, lexical), way, candidates)
                found["again"] = float(again is not None)
                found[named(way)] = gain(again or dense, lexical, way.lexical_weight, judged)
            yield found


def answers(docs: Path) -> dict[str, dict[str, float]]:
    """Share of the questions about long pages whose answer is in the packed context, by budget."""
    questions = load_questions(QUESTIONS)
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as home:
        for name, way in ((ONCE, RetrievalSettings()), ("again", MEANT)):
            with open_runtime(Settings(home=Path(home), retrieval=way), "benchmark") as runtime:
                runtime.ingestor.ingest(IngestOrder(paths=(str(docs),)), runtime.scope())
                retriever = HybridRetriever()
                retriever.bind(runtime.resources)
                passages = [list(retriever.run(one["text"])["documents"]) for one in questions]
                found[name] = {}
                for budget in BUDGETS:
                    packer = ContextPacker(budget)
                    packer.bind(runtime.resources)
                    contexts = [
                        [piece.content or "" for piece in packer.run(one["text"], some)["documents"]]
                        for one, some in zip(questions, passages, strict=True)
                    ]
                    found[name][str(budget)] = answered(questions, contexts)
    return found


def cross_validated(gains: Mapping[str, Mapping[str, Sequence[float]]], ways: Sequence[str]) -> dict[str, float]:
    """The mean gain by set, each fold under the way that is best on the other folds of all sets."""
    total = dict.fromkeys(gains, 0.0)
    for fold in range(FOLDS):

        def elsewhere(way: str, fold: int = fold) -> float:
            return statistics.fmean(
                statistics.fmean(one for number, one in enumerate(found[way]) if number % FOLDS != fold)
                for found in gains.values()
            )

        best = max(ways, key=elsewhere)
        for name, found in gains.items():
            total[name] += sum(found[best][fold::FOLDS])
    return {name: round(total[name] / len(found[ways[0]]), 4) for name, found in gains.items()}


def mean(values: Sequence[float]) -> float:
    """Rounded."""
    return round(statistics.fmean(values), 4)


if __name__ == "__main__":
    main()
