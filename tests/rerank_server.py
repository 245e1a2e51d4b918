"""A real HTTP server that speaks text-embeddings-inference's `/rerank`, and fails on purpose when told to."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def by_length(query: str, texts: list[str]) -> Any:
    """The longest text is best."""
    return [{"index": place, "score": float(len(text))} for place, text in enumerate(texts)][::-1]


@dataclass
class Script:
    """What the server answers. While `hold` is there, and not set, it answers nothing, or drips if told to."""

    answer: Callable[[str, list[str]], Any] = by_length
    status: int = 200
    cut: bool = False
    drip: bool = False
    hold: threading.Event | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def rerank_server(script: Script) -> Iterator[str]:
    """Serve on a free loopback port; yields the base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            script.requests.append({"path": self.path, **asked})
            script.headers.append(dict(self.headers))
            if script.hold is not None and not script.drip:
                script.hold.wait(30)
            answer = script.answer(asked["query"], asked["texts"])
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            try:
                self.send_response(script.status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                if script.drip:
                    for byte in body * 1000:
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                        if script.hold is not None and script.hold.wait(0.02):
                            return
                self.wfile.write(body[: len(body) // 2] if script.cut else body)
            except OSError:
                pass  # who asked has gone
            if script.cut:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        if script.hold is not None:
            script.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()
