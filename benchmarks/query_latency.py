"""How long does a warm `POST /v1/query` take for one client? JSON on the last line."""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

P50_LIMIT_MS, P95_LIMIT_MS = 15.0, 40.0


def main() -> None:
    """Serve an ingested corpus and ask it, one question after the other."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--corpus", type=Path, default=Path("../shared/data/docs-history/3.0"))
    arguments.add_argument("--questions", type=int, default=300)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    names = [path.stem.replace("-", " ") for path in sorted(given.corpus.rglob("*.md*"))]
    ragsaver = [sys.executable, "-m", "ragsaver"]
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "RAGSAVER_HOME": home}
        subprocess.run([*ragsaver, "ingest", str(given.corpus)], env=environment, check=True, stdout=sys.stderr)
        server = subprocess.Popen(
            [*ragsaver, "serve", "--port", "0"], env=environment, stderr=subprocess.PIPE, text=True
        )
        try:
            url = server.stderr.readline().split()[-1]
            spent_ms = ask(url, [f"What does {names[n % len(names)]} do, case {n}?" for n in range(given.questions)])
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate()
    p50, p95 = statistics.median(spent_ms), statistics.quantiles(spent_ms, n=20)[18]
    result = {
        "questions": len(spent_ms),
        "p50_ms": round(p50, 2),
        "p95_ms": round(p95, 2),
        "p50_limit_ms": P50_LIMIT_MS,
        "p95_limit_ms": P95_LIMIT_MS,
        "ok": p50 < P50_LIMIT_MS and p95 < P95_LIMIT_MS,
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def ask(url: str, questions: list[str]) -> list[float]:
    """Milliseconds of each question; the first fifty warm the server and don't count."""
    spent_ms = []
    with httpx.Client(base_url=url, timeout=60) as client:
        for question in questions[:50] + questions:
            started = time.perf_counter()
            client.post("/v1/query", json={"query": question}).raise_for_status()
            spent_ms.append((time.perf_counter() - started) * 1000)
    return spent_ms[50:]


if __name__ == "__main__":
    main()
