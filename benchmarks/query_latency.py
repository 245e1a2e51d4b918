"""How long does a warm `POST /v1/query` take for one client? JSON on the last line.

No answer is taken from the cache. `without_model` is the same less the time in which the embedding model had the
question: what RAGSaver and HTTP take of it. With `--paid` a language model answers, under budgets: an endpoint of this
script that says the same sentence to everybody at once. Then the time in which OpenAI's own client had the question is
left out too; `client_p50_ms` says how long that is, less what the endpoint takes.
"""

import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path

P50_LIMIT_MS, P95_LIMIT_MS, OWN_P50_LIMIT_MS = 15.0, 40.0, 8.0
WARM = 50

_USAGE = {"prompt_tokens": 500, "completion_tokens": 9, "total_tokens": 509}
_CHOICE = {"index": 0, "message": {"role": "assistant", "content": "It says so [1]."}, "finish_reason": "stop"}
_COMPLETION = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [_CHOICE]}
_BODY = json.dumps(_COMPLETION | {"usage": _USAGE}).encode()
SAID = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_BODY) + _BODY


def main() -> None:
    """Serve an ingested corpus and ask it, one question after the other."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--corpus", type=Path, default=Path("../shared/data/docs-history/3.0"))
    arguments.add_argument("--questions", type=int, default=300)
    arguments.add_argument("--paid", action="store_true", help="a language model answers, and is paid for")
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    names = [path.stem.replace("-", " ") for path in sorted(given.corpus.rglob("*.md*"))]
    ragsaver = [sys.executable, "-m", "ragsaver"]
    endpoint = Endpoint()
    with tempfile.TemporaryDirectory() as home, endpoint:
        environment = {**os.environ, "RAGSAVER_HOME": home, **(endpoint.environment() if given.paid else {})}
        subprocess.run([*ragsaver, "ingest", str(given.corpus)], env=environment, check=True, stdout=sys.stderr)
        server = subprocess.Popen(
            [*ragsaver, "serve", "--port", "0"], env=environment, stderr=subprocess.PIPE, text=True
        )
        try:
            url = server.stderr.readline().split()[-1]
            threading.Thread(target=server.stderr.read, daemon=True).start()  # a full pipe would stop the server
            questions = [f"What does {names[n % len(names)]} do, case {n}?" for n in range(given.questions)]
            spent_ms, own_ms, client_ms = ask(url, questions, endpoint)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
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
        "load": round(os.getloadavg()[0], 1),
        "ok": p50 < P50_LIMIT_MS and p95 < P95_LIMIT_MS and own_p50 < OWN_P50_LIMIT_MS,
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


class Endpoint:
    """Speaks the OpenAI protocol, says always the same, and counts the time from a request's first byte to its last.

    :param thinks_s: before it answers.
    """

    def __init__(self, thinks_s: float = 0.0) -> None:
        self._thinks_s = thinks_s
        self.took_ms = 0.0
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._connections: list[socket.socket] = []

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = self._listening.accept()
                # or the client's next packet waits 40 ms for an ACK
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections.append(connection)
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError):
            while first := connection.recv(65536):
                started = time.perf_counter()
                head, _, body = first.partition(b"\r\n\r\n")
                missing = int(re.search(rb"(?i)content-length: (\d+)", head)[1]) - len(body)
                while missing > 0:
                    missing -= len(connection.recv(65536))
                time.sleep(self._thinks_s)
                connection.sendall(SAID)
                self.took_ms += (time.perf_counter() - started) * 1000

    def environment(self) -> dict[str, str]:
        """The settings of a project that it answers, with budgets to look at for every question."""
        model = {"name": "gpt-4o-mini", "base_url": f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"}
        budgets = [{"scope": scope, "period": "month", "limit_usd": "1000"} for scope in ("tenant", "total")]
        return {
            "RAGSAVER_GENERATION__MODELS": json.dumps([model]),
            "RAGSAVER_GENERATION__EXTRACTIVE_FIRST": "false",
            "RAGSAVER_SPEND__BUDGETS": json.dumps(budgets),
        }

    def __enter__(self) -> None:
        threading.Thread(target=self._serve, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        for one in (self._listening, *self._connections):
            one.close()


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
