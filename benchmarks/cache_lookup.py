"""How long does a look for a question that asks the same take, among 100,000?

    python benchmarks/cache_lookup.py [--entries N] [--vectors FILE.npz]

One area holds all entries. Vectors are random, or those of FILE (`vectors`); each question looked for is near one of
them. Timed without the embedding: nearest by signs and vectors, then the rule on the eight nearest.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from ragsaver.caching.agreement import bundled_agreement
from ragsaver.caching.nearest import Nearest

DIM = 384
LOOKS = 300


def main() -> None:
    """Fill, look, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--vectors", type=Path)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    vectors = random.normal(size=(arguments.entries, DIM)).astype(np.float32)
    if arguments.vectors:
        real = np.load(arguments.vectors)["vectors"]
        vectors = real[np.arange(arguments.entries) % len(real)] + 0.01 * vectors
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest: Nearest[str, int] = Nearest(arguments.entries)
    started = time.perf_counter()
    for n, vector in enumerate(vectors):
        nearest.put("area", n, f"How do I set option {n} of the {n % 97} server?", vector)
    filled_s = time.perf_counter() - started

    rule = bundled_agreement()
    spent, busy, found = [], [], 0
    for n in random.integers(0, arguments.entries, LOOKS):
        asked = vectors[n] + 0.3 * random.normal(size=DIM).astype(np.float32) / np.sqrt(DIM)
        asked /= np.linalg.norm(asked)
        started, cpu = time.perf_counter(), time.thread_time()
        near = nearest.near("area", asked, rule.cosine_at_least, 8)
        for one in near:
            rule.holds(one.question, f"How can I set option {n} of the {n % 97} server?", one.cosine)
        spent.append((time.perf_counter() - started) * 1000)
        busy.append((time.thread_time() - cpu) * 1000)
        exact = int(np.argmax(vectors @ asked))
        found += bool(near) and near[0].label == exact
    p50, p95 = np.percentile(spent, [50, 95])
    print(
        json.dumps(
            {
                "entries": arguments.entries,
                "fill_s": round(filled_s, 1),
                "lookup_ms": {"p50": round(float(p50), 3), "p95": round(float(p95), 3)},
                "lookup_cpu_ms": {
                    "p50": round(float(np.median(busy)), 3),
                    "p95": round(float(np.quantile(busy, 0.95)), 3),
                },
                "nearest_found": round(found / LOOKS, 4),
            }
        )
    )


if __name__ == "__main__":
    main()
