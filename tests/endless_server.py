"""An OpenAI-compatible server that never comes to an end of its answer, and notices who does not listen any more."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PAUSE_S = 0.02
_AT_MOST = 3000


@dataclass
class Endless:
    """What it has seen. While `silent`, it takes a request and says nothing.

    :ivar asked: set once it has a request.
    :ivar left: set once its caller has gone.
    """

    silent: bool = False
    asked: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    requests: list[dict] = field(default_factory=list)


@contextmanager
def endless_server(seen: Endless) -> Iterator[str]:
    """Serve on a free loopback port; yields the base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.requests.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            seen.asked.set()
            if seen.silent:
                self.connection.settimeout(60)
                if not self.connection.recv(1):
                    seen.left.set()
                self.close_connection = True
                return
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
