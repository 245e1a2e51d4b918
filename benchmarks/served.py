"""A server of an ingested corpus, and an endpoint that answers for a language model, for who asks over HTTP."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from process_memory import cpu_seconds

_USAGE = {"prompt_tokens": 500, "completion_tokens": 9, "total_tokens": 509}
_CHOICE = {"index": 0, "message": {"role": "assistant", "content": "It says so [1]."}, "finish_reason": "stop"}
_COMPLETION = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [_CHOICE]}
_BODY = json.dumps(_COMPLETION | {"usage": _USAGE}).encode()
_LOOK_S, _AT_REST = 1.0, 0.1  # of the processor
SAID = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_BODY) + _BODY


@contextmanager
def served(corpus: Path, settings: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Ingest a corpus in a home of its own, and serve it for the code inside, once the server has read ahead: the URL,
    and what its files are called.

    :param settings: more variables of the environment.
    """
    names = [path.stem.replace("-", " ") for path in sorted(corpus.rglob("*.md*"))]
    ragsaver = [sys.executable, "-m", "ragsaver"]
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "RAGSAVER_HOME": home, **settings}
        subprocess.run([*ragsaver, "ingest", str(corpus)], env=environment, check=True, stdout=sys.stderr)
        server = subprocess.Popen(
            [*ragsaver, "serve", "--port", "0"], env=environment, stderr=subprocess.PIPE, text=True
        )
        try:
            url = server.stderr.readline().split()[-1]
            threading.Thread(target=server.stderr.read, daemon=True).start()  # a full pipe would stop the server
            rests(server.pid)
            yield url, names
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()


def rests(pid: int) -> None:
    """Wait until a process takes no more of the processor than one that waits."""
    before = cpu_seconds(pid)
    while True:
        time.sleep(_LOOK_S)
        now = cpu_seconds(pid)
        if now - before < _LOOK_S * _AT_REST:
            return
        before = now


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
