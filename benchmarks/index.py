"""How fast, how exact and how large is the embedded index, by size and by quantisation? JSON on the last line.

Synthetic chunks (see `synthetic_chunks.py`) are written as ingestion writes them, the index is optimised, and opened
again by another process, which asks it one question after the other: *hybrid* is what retrieval asks for (both legs,
100 hits each, no payload), *hybrid_shared_idf* the same with the word statistics of all tenants, *dense* ten hits of
the vectors alone. Recall is that of the ten best, over the exact ones; `cpu_ms` is what a question takes of the
processor in the mean, whatever else runs. Resident memory is what the process has more than before it opened the
index; the pages of mapped files among it (`resident_mb` less `anonymous_mb`) can be given back.

For one kind (`--during`) the index is optimised with four fifths of the chunks, gets the rest, and is asked before and
while it is optimised again.

Peers, of the same chunks: qdrant-client's local mode and numpy for the vectors, bm25s and rank_bm25 for the words. Each
has a limit of memory (`--peer-gb`) and of time (`--peer-minutes`), and is told as not run where it passes one; a slow
one is asked for a quarter of that time, so fewer questions. Chunks are made and written a thousand at a time, so this
takes no more memory for a million of them (`--sizes 1000000`); they need 1.5 GB of disk, and each index its own.
Every process multiplies matrices with one thread: two of them wait for each other where something else runs.
"""

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from index_peers import CANDIDATES, LEXICAL, PEERS, Search
from numpy.typing import NDArray
from process_memory import status_mb
from synthetic_chunks import BLOCK, DIM, NEAREST, SyntheticChunks, generate

from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.protocol import ChunkPoint
from ragsaver.index.quantization import Kind, Quantization
from ragsaver.index.scope import Scope

MIB = 2**20
SIZES = (10_000, 100_000)
KINDS = ("none", *get_args(Kind))
P95_LIMIT_MS, RECALL_LIMIT = 20.0, 0.98  # of int8's hybrid search with a million chunks
DURING_LIMIT = 5.0  # p99 while it is optimised, over p99 before
QUESTIONS, WARM, FAST_MS = 300, 50, 100
SCOPE = Scope("benchmark", "chunks")
IDENTITY = IndexIdentity("synthetic", "synthetic", DIM, "english", 60.0)


def main() -> None:
    """Generate each size once; build and ask each index in processes of their own."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    arguments.add_argument("--kinds", choices=KINDS, nargs="*", default=KINDS)
    arguments.add_argument("--during", choices=KINDS, default="int8", help="asked while it is optimised")
    arguments.add_argument("--oversampling", type=float, nargs="+", default=[2.0])
    arguments.add_argument("--peers", choices=list(PEERS), nargs="*", default=list(PEERS))
    arguments.add_argument("--peer-gb", type=float, default=12.0, help="of memory that a peer may take")
    arguments.add_argument("--peer-minutes", type=float, default=20.0, help="that a peer may fill and be asked")
    arguments.add_argument("--out", type=Path, help="runs of other sizes and kinds that are there stay")
    arguments.add_argument("--measure", help=argparse.SUPPRESS)
    arguments.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.measure:
        print(json.dumps(measure(given)))
        return
    runs: list[dict[str, Any]] = []
    for size in given.sizes:
        with tempfile.TemporaryDirectory() as folder:
            generate(Path(folder), size, QUESTIONS)
            for kind in given.kinds:
                built = fresh(folder, "build", "--kinds", kind, "--during", given.during)
                ways = [1.0] if kind == "none" else given.oversampling
                for way in ways:
                    found = fresh(folder, "ask", "--kinds", kind, "--oversampling", str(way))
                    named = {} if kind == "none" else {"oversampling": way}
                    runs.append({"engine": "edge", "quantization": kind, "size": size, **named, **built, **found})
                    result = kept(runs, given.out)
                fresh(folder, "drop", "--kinds", kind)
            for peer in given.peers:
                limits = "--peer-gb", str(given.peer_gb), "--peer-minutes", str(given.peer_minutes)
                runs.append({"engine": peer, "size": size, **fresh_within(given.peer_minutes, folder, peer, *limits)})
                result = kept(runs, given.out)
    print(json.dumps(result))


def kept(runs: Sequence[dict[str, Any]], out: Path | None) -> dict[str, Any]:
    """Say the last run, and write all so far: a run of hours may be cut short."""
    print(runs[-1], file=sys.stderr)
    if out and out.exists():
        runs = merged(json.loads(out.read_text())["runs"], runs)
    result = {"cores": len(os.sched_getaffinity(0)), "dim": DIM, "runs": runs, **judged(runs)}
    if out:
        out.write_text(json.dumps(result, indent=2) + "\n")
    return result


def fresh_within(minutes: float, folder: str, peer: str, *options: str) -> dict[str, Any]:
    """The same of a peer, or why there is nothing to say."""
    try:
        return fresh(folder, peer, *options, timeout_s=minutes * 60)
    except subprocess.TimeoutExpired:
        return {"not_run": f"was not done within {minutes:g} minutes"}
    except subprocess.CalledProcessError as error:
        return {"not_run": f"ended with code {error.returncode}"}


def fresh(folder: str, what: str, *options: str, timeout_s: float | None = None) -> dict[str, Any]:
    """What a process of its own says."""
    load = round(os.getloadavg()[0], 1)
    command = [sys.executable, __file__, "--measure", what, "--folder", folder, *options]
    one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    said = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=one_thread, timeout=timeout_s
    ).stdout
    answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    return answer | ({f"load_before_{what}": load} if answer else {})


def merged(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """New runs take the place of old ones of the same."""

    def same(run: dict[str, Any]) -> tuple[Any, ...]:
        return run["size"], run["engine"], run.get("quantization"), run.get("oversampling")

    return sorted({same(run): run for run in (*old, *new)}.values(), key=lambda run: run["size"])


def judged(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Whether int8 keeps its limits at the largest size that was measured, and a search its pace meanwhile."""
    int8 = [run for run in runs if run.get("quantization") == "int8" and run["oversampling"] == 2.0]
    during = [run["during"] for run in runs if "during" in run]
    verdict: dict[str, Any] = {
        "hybrid_p95_limit_ms": P95_LIMIT_MS,
        "recall_limit": RECALL_LIMIT,
        "during_limit": DURING_LIMIT,
        "ok": all(one["slower"] < DURING_LIMIT for one in during),
    }
    if int8:
        largest = max(int8, key=lambda run: run["size"])
        p95, recall = largest["hybrid"]["p95_ms"], largest["hybrid"]["recall_at_10"]
        verdict["judged_at"] = largest["size"]
        verdict["ok"] = verdict["ok"] and p95 < P95_LIMIT_MS and recall >= RECALL_LIMIT
    return verdict


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """What this process was started for."""
    chunks, kind = SyntheticChunks(given.folder), given.kinds[0]
    home = given.folder / f"index-{kind}"
    match given.measure:
        case "build":
            return build(chunks, home, kind, asked=given.during == kind)
        case "ask":
            return ask(chunks, home, kind, given.oversampling[0])
        case "drop":
            shutil.rmtree(home)
            return {}
        case peer:
            return peer_within(given.peer_gb, chunks, peer, given.peer_minutes * 60 / 4)


def opened(home: Path, kind: str, oversampling: float = 2.0, *, tenant_idf: bool = True) -> EdgeIndex:
    """The index in `home`."""
    smaller = None if kind == "none" else Quantization(kind, oversampling)  # type: ignore[arg-type]
    return EdgeIndex(home, IDENTITY, quantization=smaller, tenant_idf=tenant_idf)


def build(chunks: SyntheticChunks, home: Path, kind: str, *, asked: bool) -> dict[str, Any]:
    """Write all chunks and optimise; if it is to be asked, with a fifth of them written after a first time."""
    index = opened(home, kind)
    started = time.perf_counter()
    first = chunks.size * 4 // 5 // BLOCK * BLOCK if asked else chunks.size
    write(index, chunks, 0, first)
    written = time.perf_counter()
    index.optimise(force=True)
    result: dict[str, Any] = {
        "write_s": round(written - started, 1),
        "optimise_s": round(time.perf_counter() - written, 1),
        "optimised_chunks": first,
    }
    if asked:
        write(index, chunks, first, chunks.size)
        result["during"] = asked_meanwhile(index, chunks)
    index.close()
    files = [file.stat() for file in home.rglob("*") if file.is_file()]
    return result | {
        "disk_mb": round(sum(file.st_blocks * 512 for file in files) / MIB),
        "build_peak_mb": round(status_mb("VmHWM")),
    }


def write(index: EdgeIndex, chunks: SyntheticChunks, start: int, stop: int) -> None:
    """Write the chunks from `start` (the first of a block) to before `stop`, and list them."""
    for first, vectors, texts in chunks.blocks(start, stop):
        points = [
            ChunkPoint(point_id(place), f"d{place // 20}", vector, text, {"text": text, "tokens": 100})
            for place, (vector, text) in enumerate(zip(vectors, texts, strict=True), first)
        ]
        index.upsert(SCOPE, points)
        index.list_and_delete(SCOPE, [one.id for one in points], [])


def asked_meanwhile(index: EdgeIndex, chunks: SyntheticChunks) -> dict[str, Any]:
    """How long questions take before the index is optimised, and while it is."""
    questions = list(zip(chunks.asked(), chunks.questions, strict=True))
    search = hybrid(index)
    timed(search, questions[:WARM])
    before_ms, _ = timed(search, questions * 3)
    done = threading.Thread(target=lambda: index.optimise(force=True))
    during_ms: list[float] = []
    started = time.perf_counter()
    done.start()
    while done.is_alive():
        during_ms += timed(search, questions[:20])[0]
        questions = questions[20:] + questions[:20]
    took_s = time.perf_counter() - started
    before, during = percentiles(before_ms, 99), percentiles(during_ms, 99)
    return {
        "optimise_s": round(took_s, 1),
        "questions": len(during_ms),
        "before": before,
        "meanwhile": during,
        "slower": round(during["p99_ms"] / before["p99_ms"], 2),
    }


def ask(chunks: SyntheticChunks, home: Path, kind: str, oversampling: float) -> dict[str, Any]:
    """Open what another process has built, and ask."""
    texts = chunks.asked()
    before = status_mb("VmRSS"), status_mb("RssAnon")
    index = opened(home, kind, oversampling)
    result = {
        "hybrid": answered(hybrid(index), chunks, texts),
        "dense": answered(dense(index), chunks, texts),
        "resident_mb": round(status_mb("VmRSS") - before[0]),
        "anonymous_mb": round(status_mb("RssAnon") - before[1]),
    }
    index.close()
    index = opened(home, kind, oversampling, tenant_idf=False)
    result["hybrid_shared_idf"] = answered(hybrid(index), chunks, texts)
    index.close()
    return result


def peer_within(gb: float, chunks: SyntheticChunks, peer: str, most_s: float) -> dict[str, Any]:
    """Fill a peer and ask, in no more memory than it may take; what is mapped from files is not counted."""
    room = int(gb * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (room, room))
    try:
        return ask_peer(chunks, peer, most_s)
    except MemoryError:
        return {"not_run": f"wanted more than {gb:g} GB of memory"}


def ask_peer(chunks: SyntheticChunks, peer: str, most_s: float) -> dict[str, Any]:
    """Fill a peer, and ask for so long."""
    texts, before = chunks.asked(), status_mb("RssAnon")
    started = time.perf_counter()
    search = PEERS[peer](chunks)
    filled_s = time.perf_counter() - started
    found = answered(search, chunks, texts, most_s)
    if peer in LEXICAL:
        del found["recall_at_10"]
    return {
        "fill_s": round(filled_s, 1),
        "lexical" if peer in LEXICAL else "dense": found,
        "anonymous_mb": round(status_mb("RssAnon") - before),
        "peak_mb": round(status_mb("VmHWM")),
    }


def hybrid(index: EdgeIndex) -> Search:
    """Both legs as retrieval asks for them."""

    def search(text: str, vector: NDArray[np.float32]) -> list[int]:
        hits = index.search(SCOPE, text, vector, CANDIDATES, with_payload=False).dense
        return [uuid.UUID(hit.id).int for hit in hits[:NEAREST]]

    return search


def dense(index: EdgeIndex) -> Search:
    """The vectors alone: no words, no second leg."""

    def search(text: str, vector: NDArray[np.float32]) -> list[int]:
        return [uuid.UUID(hit.id).int for hit in index.search(SCOPE, "", vector, NEAREST, with_payload=False).dense]

    return search


def answered(
    search: Search, chunks: SyntheticChunks, texts: Sequence[str], most_s: float = math.inf
) -> dict[str, float]:
    """Times of each question, after some that warm up, and the recall; what is fast is asked twice.

    :param most_s: after which no other question is asked; the number of those that were is then told.
    """
    questions = list(zip(texts, chunks.questions, strict=True))
    warm_ms, _ = timed(search, questions[:5])
    fast = max(warm_ms) < FAST_MS
    if fast:
        timed(search, questions[:WARM])
    cpu_started = time.process_time()
    spent_ms, found = timed(search, questions, most_s)
    asked = {"questions": len(found)} if len(found) < len(questions) else {}
    if fast:
        spent_ms += timed(search, questions)[0]
    cpu_ms = (time.process_time() - cpu_started) * 1000 / len(spent_ms)
    recall = round(chunks.recall(found), 4)
    return {**percentiles(spent_ms, 95), "cpu_ms": round(cpu_ms, 2), "recall_at_10": recall, **asked}


def timed(
    search: Search, questions: Sequence[tuple[str, NDArray[np.float32]]], most_s: float = math.inf
) -> tuple[list[float], list[list[int]]]:
    """Milliseconds of each question, and what was found."""
    spent_ms, found = [], []
    until = time.perf_counter() + most_s
    for text, vector in questions:
        started = time.perf_counter()
        if found and started > until:
            break
        found.append(search(text, vector))
        spent_ms.append((time.perf_counter() - started) * 1000)
    return spent_ms, found


def percentiles(spent_ms: Sequence[float], high: int) -> dict[str, float]:
    """The median and a high percentile."""
    return {
        "p50_ms": round(float(np.percentile(spent_ms, 50)), 2),
        f"p{high}_ms": round(float(np.percentile(spent_ms, high)), 2),
    }


def point_id(place: int) -> str:
    """The id of the chunk at a position."""
    return str(uuid.UUID(int=place))


if __name__ == "__main__":
    main()
