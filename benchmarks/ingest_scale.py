"""Does ingestion keep its pace and its memory as the corpus grows? JSON on the last line.

Generated Markdown in files of about 20 KB goes through the guarded processes, with an encoder that is free: into an
index that keeps nothing, and into the embedded engine. Each run is a process of its own. The engine is optimised
afterwards, by another process: that is not in these figures.

The engine's own calls for the same chunks are measured alone too, in a process that does nothing else. They hold the
interpreter's lock, and so does what the null index's run does in its process: the two together are the least that a run
with the engine can take. By how much that process grows is the memory of the engine's own index; what a run takes
beyond it is told beside it.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from free_encoder import FreeEncoder
from machine_pace import loop_s
from numpy.typing import NDArray
from process_memory import cpu_seconds, status_mb

from ragsaver.caching.embeddings import SqliteEmbeddingCache
from ragsaver.collecting import collect_seldom
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.protocol import ChunkPoint, Leg, LegHits, VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.ingestion.applying import point_of
from ragsaver.ingestion.cutting import cutters, recipe_of
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.manifest import Manifest
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.preparing import Raw, Recipe, prepare
from ragsaver.settings import Settings

MB = 1_000_000  # bytes; a MiB is 5% more
MIB = 2**20
SIZES_MB = (10, 50, 200)
MB_PER_S_LIMITS = {"null": 5.0, "edge": 3.0}
# The largest run may be so much slower by the megabyte, and with the null index take so much more memory, than the
# smallest one.
SLOWER_LIMIT, MEMORY_LIMIT = 1.3, 1.3
CORES = 2
FILE_BYTES, FILES_A_FOLDER = 20_000, 250
SEED = 20
BATCH_CHUNKS = 1024  # that a run writes at a time, where they are quickly embedded


class NullIndex:
    """A `VectorIndex` that keeps nothing: what is left is the time of everything else."""

    words = None

    def search(self, scope: Scope, text: str, vector: NDArray[np.float32], limit: int) -> LegHits:
        return LegHits(Leg(), Leg())

    def upsert(self, scope: Scope, points: Sequence[ChunkPoint]) -> None: ...

    def list_and_delete(self, scope: Scope, listed: Sequence[str], deleted: Sequence[str]) -> None: ...

    def set_payload(self, scope: Scope, payloads: Mapping[str, Mapping[str, Any]]) -> None: ...

    def vectors(self, scope: Scope, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        return {}

    def ids(self, scope: Scope) -> Iterator[tuple[str, bool]]:
        return iter(())

    def scopes(self) -> list[Scope]:
        return []

    def count(self, scope: Scope) -> int:
        return 0

    def changes(self) -> int | None:
        return None

    def flush(self) -> None: ...

    def optimise(self, *, force: bool = False) -> bool:
        return False

    def stop_optimising(self) -> None: ...

    def close(self) -> None: ...


def main() -> None:
    """Generate each size once, and ingest it into both."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sizes-mb", type=int, nargs="+", default=SIZES_MB)
    arguments.add_argument("--index", choices=["null", "edge"], nargs="+", default=["null", "edge"])
    arguments.add_argument("--dim", type=int, default=16, help="floats of a vector; the shipped model's have 384")
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments.add_argument("--profile", type=Path, help="with --measure: where the profile goes")
    given = arguments.parse_args()
    if given.measure:
        alone, name = given.alone, given.index[0]
        print(
            json.dumps(
                engine_alone(given.measure, given.dim)
                if alone
                else measure(given.measure, name, given.dim, given.profile)
            )
        )
        return
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    runs: list[dict[str, Any]] = []
    load = round(os.getloadavg()[0], 1)
    for size_mb in given.sizes_mb:
        with tempfile.TemporaryDirectory() as folder:
            generate(Path(folder) / "docs", size_mb * MB)
            for name in given.index:
                pace = {"loop_s": loop_s()}
                runs.append({"index": name, "size_mb": size_mb, **pace, **in_its_own_process(folder, given.dim, name)})
                if name == "edge":
                    runs[-1] |= in_its_own_process(folder, given.dim, name, "--alone")
                print(runs[-1], file=sys.stderr)
    cores = len(os.sched_getaffinity(0))
    result = {"cores": cores, "load_average_before": load, "dim": given.dim, "runs": runs, **judged(runs)}
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def in_its_own_process(folder: str, dim: int, name: str, *more: str) -> dict[str, Any]:
    """What this script measures of `folder`, with nothing of what was measured before in memory."""
    command = [sys.executable, __file__, "--measure", folder, "--index", name, "--dim", str(dim), *more]
    said: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return said


def judged(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The slowest pace, and how time and memory of the largest run compare with those of the smallest."""
    verdict: dict[str, Any] = {"ok": True}
    for name, least in MB_PER_S_LIMITS.items():
        mine = [run for run in runs if run["index"] == name]
        if not mine:
            continue
        smallest, largest = mine[0], mine[-1]
        pace = min(run["mb_per_s"] for run in mine)
        slower = smallest["mb_per_s"] / largest["mb_per_s"]
        more_memory = own_mb(largest) / own_mb(smallest)
        verdict[name] = {
            "mb_per_s_least": pace,
            "mb_per_s_limit": least,
            "slower_by_the_mb": round(slower, 2),
            "slower_limit": SLOWER_LIMIT,
            "memory_grows": round(more_memory, 2),
            "own_mb": [own_mb(run) for run in mine],
            **({"memory_limit": MEMORY_LIMIT} if name == "null" else {}),
        }
        flat = name != "null" or more_memory <= MEMORY_LIMIT
        verdict["ok"] = verdict["ok"] and pace >= least and slower <= SLOWER_LIMIT and flat
    if "edge" in verdict and "null" in verdict:
        engine_s = min(run["engine_alone_s"] / run["size_mb"] for run in runs if run["index"] == "edge")
        rest_s = min(run["parent_cpu_s"] / run["size_mb"] for run in runs if run["index"] == "null")
        verdict["edge"]["mb_per_s_at_most"] = round(1 / (engine_s + rest_s), 2)
    return verdict


def own_mb(run: Mapping[str, Any]) -> int:
    """Memory of a run's process at its most, without the engine's own."""
    most: int = run["parent_peak_mb"] - run.get("engine_alone_mb", 0)
    return most


def measure(folder: Path, name: str, dim: int, profile: Path | None) -> dict[str, Any]:
    """Ingest `folder/docs` in this process and its workers."""
    folder = folder.resolve()
    collect_seldom()  # as every command does
    with tempfile.TemporaryDirectory(dir=folder) as home:
        settings = Settings.model_validate({"home": home})
        limits, encoder = settings.ingestion, FreeEncoder(dim)
        identity = IndexIdentity("free", encoder.fingerprint, encoder.dim, "english", 50.0)
        index: VectorIndex = NullIndex() if name == "null" else EdgeIndex(settings.home / "index", identity)
        manifest = Manifest(settings.home / "manifest.sqlite")
        cache = SqliteEmbeddingCache(settings.home / "embeddings.sqlite", settings.embedding_cache.max_mb * MIB)
        pool = cutters(limits)
        order = IngestOrder(paths=(str(folder / "docs"),), cwd=folder)
        ingestor = Ingestor(settings, index, encoder, manifest, cache, pool)
        started, cpu_started = time.perf_counter(), time.process_time()
        report = profiled(profile, lambda: ingestor.ingest(order, Scope("benchmark", "docs")))
        seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
        workers = [(status_mb("VmHWM", pid), cpu_seconds(pid)) for pid in children()]
        pool.close()
        index.close()
        manifest.close()
        cache.close()
    size_mb = sum(file.stat().st_size for file in (folder / "docs").rglob("*.md")) / MB
    return {
        "documents": report.documents.added,
        "chunks": report.chunks.total,
        "seconds": round(seconds, 2),
        "mb_per_s": round(size_mb / seconds, 2),
        "parent_cpu_s": round(cpu_s, 2),
        "workers_cpu_s": round(sum(cpu for _, cpu in workers), 2),
        "parent_peak_mb": round(status_mb("VmHWM")),
        "worker_peak_mb": round(max(peak for peak, _ in workers)),
    }


def engine_alone(folder: Path, dim: int) -> dict[str, Any]:
    """Seconds that the engine's calls take for the chunks of `folder/docs`, and what it keeps in memory by them."""
    settings, encoder, scope = Settings(), FreeEncoder(dim), Scope("benchmark", "docs")
    took_s = 0.0
    with tempfile.TemporaryDirectory(dir=folder) as home:
        index = EdgeIndex(Path(home), IndexIdentity("free", encoder.fingerprint, encoder.dim, "english", 50.0))
        recipe = replace(recipe_of(settings, encoder.fingerprint), words=index.words)  # made elsewhere in a run, too
        before_mb = status_mb("VmRSS")
        for points in batched_points(folder, recipe, encoder):
            started = time.perf_counter()
            index.upsert(scope, points)
            index.list_and_delete(scope, [one.id for one in points], [])
            took_s += time.perf_counter() - started
        index.flush()  # as a run does at its end; it takes more for a moment
        grown_mb = status_mb("VmHWM") - before_mb
        index.close()
    return {"engine_alone_s": round(took_s, 2), "engine_alone_mb": round(grown_mb)}


def batched_points(folder: Path, recipe: Recipe, encoder: FreeEncoder) -> Iterator[list[ChunkPoint]]:
    """The chunks of `folder/docs`, as many at a time as a run writes."""
    points: list[ChunkPoint] = []
    for file in sorted((folder / "docs").rglob("*.md")):
        name = str(file.relative_to(folder))
        chunks = prepare(Raw(name, name, file.read_bytes(), None, recipe)).chunks
        vectors = encoder.encode([one.chunk.embed_text for one in chunks])
        points += [point_of(name, *pair, tokens=100) for pair in zip(chunks, vectors, strict=True)]
        if len(points) >= BATCH_CHUNKS:
            yield points
            points = []
    if points:
        yield points


def profiled(to: Path | None, run: Any) -> Any:
    """What a call gives; its profile is written where it is wanted."""
    if to is None:
        return run()
    import cProfile

    profile = cProfile.Profile()
    try:
        return profile.runcall(run)
    finally:
        profile.dump_stats(to)


def children() -> list[int]:
    """Processes that this one has started."""
    lists = Path("/proc/self/task").glob("*/children")
    return [int(pid) for file in lists for pid in file.read_text().split()]


def generate(folder: Path, size_bytes: int) -> None:
    """Write documents of about 20 KB, the same ones every time."""
    dice = random.Random(SEED)
    words = ["".join(dice.choices("etaoinshrdlucmfwypvbgk", k=dice.randint(2, 11))) for _ in range(6000)]
    frequencies = [1 / (rank + 5) for rank in range(len(words))]  # as Zipf has it
    number = 0
    while size_bytes > 0:
        text = document(dice, words, frequencies, number)
        file = folder / f"{number // FILES_A_FOLDER:03}" / f"{number:05}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.utime(file, (1_600_000_000, 1_600_000_000))
        size_bytes -= len(text)
        number += 1


def document(dice: random.Random, words: Sequence[str], frequencies: Sequence[float], number: int) -> str:
    """Sections of paragraphs, lists, tables and code."""
    some = iter(dice.choices(words, frequencies, k=8000))

    def say(least: int, most: int) -> str:
        return " ".join(next(some, "end") for _ in range(dice.randint(least, most)))

    def sentences(most: int) -> str:
        return " ".join(f"{say(6, 22).capitalize()}." for _ in range(dice.randint(1, most)))

    parts = [f"# {say(2, 5).title()} {number}"]
    size = 0
    while size < FILE_BYTES:
        kind = dice.random()
        if kind < 0.15:
            part = f"{'#' * dice.randint(2, 3)} {say(1, 6).capitalize()}"
        elif kind < 0.7:
            part = sentences(5)
        elif kind < 0.82:
            part = "\n".join(f"- {say(3, 18)}" for _ in range(dice.randint(3, 8)))
        elif kind < 0.9:
            rows = [f"| {say(1, 2)} | {say(1, 3)} | {say(2, 6)} |" for _ in range(dice.randint(4, 12))]
            part = "\n".join([rows[0], "| --- | --- | --- |", *rows[1:]])
        else:
            lines = "\n".join(f"    {say(1, 1)} = {say(1, 1)}({say(1, 3)})" for _ in range(dice.randint(3, 14)))
            part = f"```python\ndef {say(1, 1)}():\n{lines}\n```"
        parts.append(part)
        size += len(part) + 2
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
