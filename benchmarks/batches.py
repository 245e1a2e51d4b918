"""How many tokens suit one run of the model on a CPU, and what does starting a run cost? JSON on the last line.

The shipped model runs batches of texts that are all of one length, by threads; `default` is what a batch takes by
itself. `run_tokens` is what one thread or many would have embedded while a run starts: by how much a run of one short
text takes longer than its share of a run of sixteen.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragsaver.models.devices import batch_budget
from ragsaver.models.onnx_session import OnnxSession
from ragsaver.models.registry import bundled_folder
from ragsaver.settings import usable_cores

LENGTHS, TEXTS, SHORT = (128, 256), (1, 2, 4, 8, 16, 32), 16
DEFAULT_LIMIT = 0.9  # of the best batch's pace


def main() -> None:
    """Measure each number of threads that there are cores for."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    cores = usable_cores()
    rows = [measure(threads, given.rounds) for threads in (1, 2, 4, 8, 16) if threads <= cores]
    result = {
        "cores": cores,
        "load_average": round(os.getloadavg()[0], 1),
        "threads": rows,
        "default_limit": DEFAULT_LIMIT,
        "ok": all(share >= DEFAULT_LIMIT for row in rows for share in row["default_over_best"].values()),
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def measure(threads: int, rounds: int) -> dict[str, Any]:
    """Tokens a second by shape; the shapes take turns, and medians are kept."""
    session = OnnxSession(bundled_folder() / "model.onnx", "cpu", threads=threads)
    budget = batch_budget(0, "cpu", threads)
    fitting = {length: max(1, budget.tokens // length) for length in LENGTHS}
    shapes = sorted(
        {(texts, length) for length in LENGTHS for texts in (*TEXTS, fitting[length])} | {(1, SHORT), (16, SHORT)}
    )
    inputs = {shape: random_texts(*shape) for shape in shapes}
    took_s: dict[tuple[int, int], list[float]] = {shape: [] for shape in shapes}
    for _ in range(rounds):
        for shape in shapes:
            started = time.perf_counter()
            session.run(*inputs[shape])
            took_s[shape].append(time.perf_counter() - started)
    median_s = {shape: statistics.median(seconds) for shape, seconds in took_s.items()}
    pace = {shape: shape[0] * shape[1] / seconds for shape, seconds in median_s.items()}
    best = {length: max(pace[texts, length] for texts in (*TEXTS, fitting[length])) for length in LENGTHS}
    started_s = median_s[1, SHORT] - median_s[16, SHORT] / 16
    return {
        "threads": threads,
        "tokens_per_s": {f"{texts} x {length}": round(pace[texts, length]) for texts, length in shapes},
        "run_tokens": round(started_s * statistics.mean(best.values())),
        "default": budget._asdict(),
        "default_over_best": {str(one): round(pace[fitting[one], one] / best[one], 3) for one in LENGTHS},
    }


def random_texts(texts: int, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and mask of so many texts."""
    ids = np.random.default_rng(0).integers(1000, 20_000, size=(texts, length))
    return ids, np.ones_like(ids)


if __name__ == "__main__":
    main()
