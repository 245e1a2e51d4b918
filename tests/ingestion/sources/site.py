"""A web site on this machine: a real HTTP server whose pages a test writes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Site:
    """`pages` answer by path; `asked` says which request came; `agents` who asked; `over` is set when the test is."""

    address: str = ""
    pages: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)

    def page(
        self, path: str, body: bytes | str, type_: str | None = "text/html", status: int = 200, **headers: str
    ) -> str:
        """Put a page there; returns its address."""
        data = body.encode() if isinstance(body, str) else body

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            if type_ is not None:
                request.send_header("Content-Type", type_)
            for name, value in headers.items():
                request.send_header(name.replace("_", "-"), value)
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            if request.command == "GET":
                request.wfile.write(data)

        self.pages[path] = answer
        return self.address + path

    def redirect(self, path: str, to: str, status: int = 302) -> str:
        """Put a redirect there; returns its address."""
        return self.page(path, b"", None, status, Location=to)


@contextmanager
def serving() -> Iterator[Site]:
    """A site on a free port of the loopback."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            site.asked.append(f"{self.command} {self.path}")
            site.agents.add(self.headers["User-Agent"])
            answer = site.pages.get(self.path)
            if answer is None:
                self.send_error(404)
            else:
                answer(self)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Keep silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    # Clients that hang up in the middle are what some tests are about.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        site.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
