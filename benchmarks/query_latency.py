"""How long does a warm `POST /v1/query` take for one client? JSON on the last line.

No answer is taken from the cache. `without_model` is the same less the time in which the embedding model had the
question: what RAGSaver and HTTP take of it. With `--paid` a language model answers, under budgets: an endpoint of this
script that says the same sentence to everybody at once. Then the time in which OpenAI's own client had the question is
left out too; `client_p50_ms` says how long that is, less what the endpoint takes.
"""

import argparse
import json
import os
import statistics
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from machine_pace import loop_s
from served import Endpoint, served

P50_LIMIT_MS, P95_LIMIT_MS, OWN_P50_LIMIT_MS = 15.0, 40.0, 8.0
WARM = 50


def main() -> None:
    """Serve an ingested corpus and ask it, one question after the other."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--corpus", type=Path, default=Path("../shared/data/docs-history/3.0"))
    arguments.add_argument("--questions", type=int, default=300)
    arguments.add_argument("--paid", action="store_true", help="a language model answers, and is paid for")
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    endpoint, pace_s = Endpoint(), loop_s()
    with endpoint, served(given.corpus, endpoint.environment() if given.paid else {}) as (url, names):
        questions = [f"What does {names[n % len(names)]} do, case {n}?" for n in range(given.questions)]
        spent_ms, own_ms, client_ms = ask(url, questions, endpoint)
    p50, p95 = statistics.median(spent_ms), statistics.quantiles(spent_ms, n=20)[18]
    own_p50 = statistics.median(own_ms)
    result = {
        "questions": len(spent_ms),
        "paid": given.paid,
        "p50_ms": round(p50, 2),
        "p95_ms": round(p95, 2),
        "p50_limit_ms": P50_LIMIT_MS,
        "p95_limit_ms": P95_LIMIT_MS,
        "without_model": {"p50_ms": round(own_p50, 2), "p50_limit_ms": OWN_P50_LIMIT_MS},
        "client_p50_ms": round(statistics.median(client_ms), 2),
        "loop_s": pace_s,
        "load": round(os.getloadavg()[0], 1),
        "ok": p50 < P50_LIMIT_MS and p95 < P95_LIMIT_MS and own_p50 < OWN_P50_LIMIT_MS,
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def ask(url: str, questions: list[str], endpoint: Endpoint) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of each question, in all, without the models, and of the model's client alone; some before them warm
    the server.
    """
    spent_ms, own_ms, client_ms = [], [], []
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    # the plainest client there is: what it takes counts, and a comfortable one takes a millisecond
    with closing(HTTPConnection(url.partition("//")[2], timeout=60)) as client:
        for question in questions[:WARM] + questions:
            body = json.dumps({"query": question})
            endpoint.took_ms = 0.0
            started = time.perf_counter()
            client.request("POST", "/v1/query", body, headers)
            response = client.getresponse()
            answer = json.loads(response.read())
            spent_ms.append((time.perf_counter() - started) * 1000)
            if response.status != 200:
                raise SystemExit(f"{question}: {answer}")
            took_ms = answer["latency_ms"]
            client_ms.append(took_ms.get("model", 0.0) - endpoint.took_ms)
            own_ms.append(spent_ms[-1] - took_ms["embed_query"] - took_ms.get("model", 0.0))
    return spent_ms[WARM:], own_ms[WARM:], client_ms[WARM:]


if __name__ == "__main__":
    main()
