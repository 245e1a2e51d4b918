"""What does retrieval take where the engine fuses both legs, beside legs that are fused here? JSON on the last line.

Synthetic chunks (see `synthetic_chunks.py`) are written into a project's own index, which is optimised. Each question
is looked for in both ways, one right after the other: legs, fusion, payloads of the best and folding. Its vector is
there beforehand, and no cache answers. `alone` are questions to an index of one tenant, whose searches need no filter;
`filtered` those where another has a point in it. Times are medians of the rounds' medians, `cpu_ms` is what the
processor took.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pipeline_latency import point, write
from synthetic_chunks import SyntheticChunks, generate

from ragsaver.components.retriever import HybridRetriever
from ragsaver.index.scope import Scope
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings

SIZES, QUESTIONS, WARM = (4_500, 100_000), 150, 20
WAYS = [(fusion, weight) for fusion in ("rrf", "dbsf") for weight in (0.5, 0.55)]
WHERE = ("here", "engine")
Took = tuple[float, float]


def main() -> None:
    """Build each size, and ask."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    arguments.add_argument("--quantization", choices=("none", "int8"), default="int8")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--folder", type=Path, help="where indexes are built, or found as they were built before")
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() if given.folder is None else nullcontext(given.folder) as folder:
        rows = [row for size in given.sizes for row in measured(Path(folder), size, given)]
    result = {
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "questions": QUESTIONS,
        "rounds": given.rounds,
        "rows": rows,
        "ok": all(row["engine"]["cpu_ms"] < row["here"]["cpu_ms"] for row in rows),
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def measured(folder: Path, size: int, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Both ways for every fusion and weight, alone and filtered."""
    place = folder / f"i{size}"
    is_new = not (place / "home").exists()
    place.mkdir(parents=True, exist_ok=True)
    if is_new:
        generate(place, size, QUESTIONS + WARM)
    chunks = SyntheticChunks(place)
    settings = Settings.model_validate({"home": place / "home", "index": {"quantization": given.quantization}})
    with open_runtime(settings, "benchmark") as runtime:
        if is_new:
            write(runtime, chunks)
            runtime.index.optimise(force=True)
        vectors = dict(zip(chunks.asked(), chunks.questions, strict=True))
        object.__setattr__(runtime.resources, "embed_question", vectors.__getitem__)
        questions = list(vectors)[: QUESTIONS + WARM]
        rows = [{"sight": "alone", **row} for row in asked(runtime, questions, given.rounds)]
        with_another = Scope("another", "default")
        stranger = point(size, chunks.vectors[0], "a stranger")
        runtime.index.upsert(with_another, [stranger])
        runtime.index.list_and_delete(with_another, [stranger.id], [])
        rows += [{"sight": "filtered", **row} for row in asked(runtime, questions, given.rounds)]
        runtime.index.list_and_delete(with_another, [], [stranger.id])
    return [{"chunks": size, **row} for row in rows]


def asked(runtime: Runtime, questions: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """Times of both, in turns."""
    rows = []
    for fusion, weight in WAYS:
        ways = {where: HybridRetriever(lexical_weight=weight, fusion=fusion, fuse_in=where) for where in WHERE}
        for way in ways.values():
            way.bind(runtime.resources)
        medians: dict[str, list[Took]] = {where: [] for where in ways}
        for _ in range(rounds):
            spent: dict[str, list[Took]] = {where: [] for where in ways}
            for number, question in enumerate(questions):
                for where in list(ways) if number % 2 else reversed(ways):
                    spent[where].append(took(ways[where], question))
            for where, some in spent.items():
                wall, cpu = zip(*some[WARM:], strict=True)
                medians[where].append((statistics.median(wall), statistics.median(cpu)))
        told = {where: {"p50_ms": middle(some, 0), "cpu_ms": middle(some, 1)} for where, some in medians.items()}
        rows.append({"fusion": fusion, "lexical_weight": weight, **told})
    return rows


def took(retriever: HybridRetriever, question: str) -> Took:
    """Milliseconds by the clock, and of the processor."""
    started, cpu_started = time.perf_counter(), time.process_time()
    retriever.run(question)
    return (time.perf_counter() - started) * 1000, (time.process_time() - cpu_started) * 1000


def middle(medians: Sequence[Took], at: int) -> float:
    """The median of rounds."""
    return round(statistics.median(one[at] for one in medians), 2)


if __name__ == "__main__":
    main()
