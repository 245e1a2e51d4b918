"""A real HTTP server that speaks the OpenAI chat protocol, and fails on purpose when told to."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 40},
}


@dataclass
class Script:
    """What the server does next: `statuses` are answered one by one before the reply; one of 200 lets it through.

    Streams tell their usage on a last chunk without choices, or as `usage_on` says: on the `finish`, or on `every` chunk
    as it grows. `retry_after` goes with a 429.

    `replies` are given one by one, then `reply` always; not in streams.

    `raw`, a content type and a body, is answered in place of any reply, as HTTP 200.

    While `hold` is there, and not set, nothing is answered. `most_at_once` is how many requests were there together, and
    `came_at` when each came, of `time.monotonic()`.
    """

    reply: str = "The permit is issued by the office [1]."
    usage: dict[str, Any] | None = field(default_factory=lambda: dict(USAGE))
    statuses: list[int] = field(default_factory=list)
    cut_after: int | None = None
    finish_reason: str = "stop"
    logprobs: list[float] | None = None
    replies: list[str] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    came_at: list[float] = field(default_factory=list)
    usage_on: str = "last"
    retry_after: str = "0"
    hold: threading.Event | None = None
    raw: tuple[str, str] | None = None
    at_once: int = 0
    most_at_once: int = 0
    counting: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def openai_server(script: Script) -> Iterator[str]:
    """Serve on a free loopback port; yields the base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with script.counting:
                script.requests.append(body)
                script.came_at.append(time.monotonic())
                script.at_once += 1
                script.most_at_once = max(script.most_at_once, script.at_once)
                status = script.statuses.pop(0) if script.statuses else 200
            if script.hold is not None:
                script.hold.wait(120)
            try:
                self._answer(status, body)
            finally:
                with script.counting:
                    script.at_once -= 1

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            if status != 200:
                self._send(status, {"error": {"message": "on purpose"}})
            elif script.raw is not None:
                self._send_as(200, *script.raw)
            elif body.get("stream"):
                self._stream()
            else:
                message = {"role": "assistant", "content": script.replies.pop(0) if script.replies else script.reply}
                choice = {"index": 0, "message": message, "finish_reason": script.finish_reason}
                if script.logprobs is not None and body.get("logprobs"):
                    tokens = [{"token": "t", "bytes": None, "logprob": p, "top_logprobs": []} for p in script.logprobs]
                    choice["logprobs"] = {"content": tokens, "refusal": None}
                self._send(200, {**_head("chat.completion"), "choices": [choice], "usage": script.usage})

        def do_GET(self) -> None:
            status = script.statuses.pop(0) if script.statuses else 200
            listed = {"object": "list", "data": [{"id": "tiny", "object": "model", "created": 1, "owned_by": "us"}]}
            self._send(status, listed if status == 200 else {"error": {"message": "on purpose"}})

        def _send(self, status: int, body: dict[str, Any]) -> None:
            self._send_as(status, "application/json", json.dumps(body))

        def _send_as(self, status: int, kind: str, body: str) -> None:
            data = body.encode()
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            if status == 429:
                self.send_header("retry-after", script.retry_after)
            self.end_headers()
            self.wfile.write(data)

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            pieces = script.reply.split(" ")
            for number, piece in enumerate(pieces):
                if script.cut_after is not None and number == script.cut_after:
                    return
                so_far = {"prompt_tokens": 100, "completion_tokens": number + 1} if script.usage_on == "every" else None
                self._event([{"index": 0, "delta": {"content": f"{piece} "}, "finish_reason": None}], so_far)
            finish = [{"index": 0, "delta": {}, "finish_reason": script.finish_reason}]
            self._event(finish, script.usage if script.usage_on != "last" else None)
            if script.usage and script.usage_on == "last":
                self._event([], script.usage)
            self.wfile.write(b"data: [DONE]\n\n")

        def _event(self, choices: list[Any], usage: dict[str, Any] | None) -> None:
            chunk = {**_head("chat.completion.chunk"), "choices": choices, "usage": usage}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _head(kind: str) -> dict[str, Any]:
    return {"id": "chat-1", "object": kind, "created": 1, "model": "tiny"}
