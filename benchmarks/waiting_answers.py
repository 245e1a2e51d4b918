"""How many whole answers a second does one server give where the language model takes its time? JSON on the last line.

Clients ask one question after the other, each another one, of an endpoint of this script that thinks for so long and
says the same to everybody. `most_per_s` is what they could get if all else took no time.
"""

import argparse
import json
import os
import statistics
import threading
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from served import Endpoint, served

# Were answers to wait on the threads that work, there would be so many.
THREADS = 32


def main() -> None:
    """Serve an ingested corpus and ask it from many clients at once."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--corpus", type=Path, default=Path("../shared/data/docs-history/3.0"))
    arguments.add_argument("--clients", type=int, default=128)
    arguments.add_argument("--thinks-s", type=float, default=4.0)
    arguments.add_argument("--seconds", type=float, default=30.0)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    endpoint = Endpoint(given.thinks_s)
    with endpoint, served(given.corpus, endpoint.environment()) as (url, names):
        took_s, passed_s = ask(url.partition("//")[2], names, given.clients, given.seconds)
    per_s = len(took_s) / passed_s
    result = {
        "clients": given.clients,
        "thinks_s": given.thinks_s,
        "answers": len(took_s),
        "answers_per_s": round(per_s, 1),
        "most_per_s": round(given.clients / given.thinks_s, 1),
        "on_32_threads_at_most_per_s": round(THREADS / given.thinks_s, 1),
        "p50_s": round(statistics.median(took_s), 2),
        "p95_s": round(statistics.quantiles(took_s, n=20)[18], 2),
        "load": round(os.getloadavg()[0], 1),
        "ok": per_s > THREADS / given.thinks_s,
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def ask(address: str, names: list[str], clients: int, seconds: float) -> tuple[list[float], float]:
    """Seconds of each answer, and how many passed until the last; the first one of each client warms the server."""
    took_s: list[float] = []
    warm = threading.Barrier(clients + 1)

    def client(number: int) -> None:
        with closing(HTTPConnection(address, timeout=120)) as connection:
            one(connection, f"What does {names[number % len(names)]} do, client {number}?")
            warm.wait()
            end, count = time.perf_counter() + seconds, 0
            while time.perf_counter() < end:
                count += 1
                name = names[(number * 7 + count) % len(names)]
                took_s.append(one(connection, f"What does {name} do, case {count} of client {number}?"))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    warm.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    return took_s, time.perf_counter() - started


def one(connection: HTTPConnection, question: str) -> float:
    """Seconds that an answer took."""
    started = time.perf_counter()
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    connection.request("POST", "/v1/query", json.dumps({"query": question}), headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    if response.status != 200:
        raise SystemExit(f"{question}: {answer}")
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
