"""Do questions that come at the same time share runs of the model, and what does that give? JSON on the last line.

Threads ask as fast as they get answers: together through the batcher, and one by one through a batcher of one, which
is what a lock would give. Rounds alternate. The int8 model scales its activations by what is in a run, so vectors
depend on their company: how near they stay to those made alone is told too.
"""

import argparse
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from doc_questions import QUESTIONS, load_questions
from numpy.typing import NDArray

from ragsaver.models.micro_batching import MicroBatcher
from ragsaver.models.protocol import Encoder
from ragsaver.models.registry import load_encoder
from ragsaver.settings import Settings

CLIENTS = (1, 8, 32)
GAIN_LIMIT = 1.8  # at most clients
ALONE_LIMIT = 0.95  # of the pace of one by one, at one client: noise, and no more
MOST = 32


def main() -> None:
    """Time both ways for each number of clients."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--questions", type=Path, default=QUESTIONS)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=3.0)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    questions = [question["text"] for question in load_questions(given.questions)]
    encoder = load_encoder(Settings().embedding)
    encoder.encode(questions[:32], query=True)
    load = round(os.getloadavg()[0], 1)
    found = [compared(encoder, questions, clients, given.rounds, given.seconds) for clients in CLIENTS]
    result = {
        "cores": len(os.sched_getaffinity(0)),
        "load_average_before": load,
        "clients": found,
        "gain_without_threads": without_threads(encoder, questions, given.rounds),
        "cosine_to_alone": likeness(encoder, questions),
        "gain_limit": GAIN_LIMIT,
        "alone_limit": ALONE_LIMIT,
        "ok": found[-1]["gain"] >= GAIN_LIMIT and found[0]["gain"] >= ALONE_LIMIT,
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def compared(encoder: Encoder, questions: Sequence[str], clients: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Questions a second, together and one by one, and the median of their ratios."""
    together, one_by_one = [], []
    for _ in range(rounds):
        one_by_one.append(pace(encoder, questions, clients, 1, seconds))
        together.append(pace(encoder, questions, clients, MOST, seconds))
    gains = [a / b for a, b in zip(together, one_by_one, strict=True)]
    said = {
        "clients": clients,
        "one_by_one_per_s": round(statistics.median(one_by_one)),
        "together_per_s": round(statistics.median(together)),
        "gain": round(statistics.median(gains), 2),
        "gains": [round(gain, 2) for gain in gains],
    }
    print(said, file=sys.stderr)
    return said


def pace(encoder: Encoder, questions: Sequence[str], clients: int, most: int, seconds: float) -> float:
    """Questions a second that so many threads get answered."""

    def run(some: list[str]) -> Sequence[NDArray[np.float32]]:
        return list(encoder.encode(some, query=True))

    shared: MicroBatcher[str, NDArray[np.float32]] = MicroBatcher(run, most)
    until = time.perf_counter() + seconds
    done = [0] * clients

    def ask(client: int) -> None:
        at = client * 17
        while time.perf_counter() < until:
            shared(questions[at % len(questions)])
            at += 1
            done[client] += 1

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - started)


def without_threads(encoder: Encoder, questions: Sequence[str], rounds: int) -> float:
    """How much faster runs of 32 are than runs of one, with nobody to wait for: what sharing can give at most."""
    gains = []
    for _ in range(rounds):
        started = time.perf_counter()
        for one in questions:
            encoder.encode([one], query=True)
        middle = time.perf_counter()
        for at in range(0, len(questions), MOST):
            encoder.encode(questions[at : at + MOST], query=True)
        gains.append((middle - started) / (time.perf_counter() - middle))
    return round(statistics.median(gains), 2)


def likeness(encoder: Encoder, questions: Sequence[str]) -> dict[str, float]:
    """Cosines of vectors made in runs of 32 to those made alone."""
    alone = np.stack([encoder.encode([one], query=True)[0] for one in questions])
    shared = np.concatenate(
        [encoder.encode(questions[at : at + MOST], query=True) for at in range(0, len(questions), MOST)]
    )
    cosines = (alone * shared).sum(axis=1)
    return {"least": round(float(cosines.min()), 4), "median": round(float(np.median(cosines)), 4)}


if __name__ == "__main__":
    main()
