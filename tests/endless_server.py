"""An OpenAI-compatible server that never comes to an end of its answer, and notices who does not listen any more."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.openai_server import USAGE

_PAUSE_S = 0.02
_AT_MOST = 3000


@dataclass
class Endless:
    """What it has seen. While `silent`, it takes a request and says nothing.

    :ivar then: what it answers, whole, to all requests but the first.
    :ivar asked: set once it has a request.
    :ivar left: set once its caller has gone.
    """

    silent: bool = False
    then: str | None = None
    asked: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    requests: list[dict] = field(default_factory=list)


@contextmanager
def endless_server(seen: Endless) -> Iterator[str]:
    """Serve on a free loopback port; yields the base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.requests.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            first = not seen.asked.is_set()
            seen.asked.set()
            if seen.then is not None and not first:
                self._answer(seen.then)
            elif seen.silent:
                self.connection.settimeout(60)
                if not self.connection.recv(1):
                    seen.left.set()
                self.close_connection = True
            else:
                self._stream()

        def _answer(self, text: str) -> None:
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            head = {"id": "x", "object": "chat.completion", "created": 1, "model": "tiny"}
            data = json.dumps({**head, "choices": [choice], "usage": USAGE}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            try:
                for number in range(_AT_MOST):
                    choice = {"index": 0, "delta": {"content": f"word{number} "}, "finish_reason": None}
                    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "tiny"}
                    self.wfile.write(f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n".encode())
                    self.wfile.flush()
                    threading.Event().wait(_PAUSE_S)
            except OSError:
                seen.left.set()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
