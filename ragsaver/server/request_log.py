"""Around every request: one line says who asked, what it cost, how long it took and how it ended."""

import logging
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragsaver.logs.content_log import ContentLog
from ragsaver.logs.observed import Observed, Outcome, line_of, observing
from ragsaver.logs.setup import tell
from ragsaver.server.door import PROBES
from ragsaver.server.problems import LEFT

# Asked every few seconds by machines.
_QUIET = PROBES | {"/metrics"}
_LONGEST_PATH = 200

_log = logging.getLogger("ragsaver.requests")


class RequestLog:
    """Writes the line when the response is out, or will never be; hands what was said to the content log."""

    def __init__(self, app: ASGIApp, content: ContentLog) -> None:
        self.app = app
        self.content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status: int | None = None
        whole = failed = False

        async def noting(message: Message) -> None:
            nonlocal status, whole
            await send(message)
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body" and not message.get("more_body"):
                whole = True

        with observing(Observed()) as observed:
            try:
                await self.app(scope, receive, noting)
            except Exception:
                failed = True
                raise
            finally:
                outcome = _outcome(observed, status, whole=whole, failed=failed)
                self._write(scope, observed, status, outcome, (time.perf_counter() - started) * 1000)

    def _write(self, scope: Scope, observed: Observed, status: int | None, outcome: Outcome, latency_ms: float) -> None:
        state = scope.get("state", {})
        identity = state.get("identity")
        request_id = str(state.get("request_id", ""))
        asked: dict[str, Any] = {
            "method": scope["method"],
            "path": scope["path"][:_LONGEST_PATH],
            "status": status,
        }
        if identity is not None:
            asked |= {"tenant": identity.tenant, "principal": identity.principal, "key_id": identity.key_id}
        line = line_of(observed, request_id, outcome, latency_ms, asked)
        tell(_log, _level(scope["path"], outcome), "request", line)
        self.content.keep(observed, request_id, outcome)


def _outcome(observed: Observed, status: int | None, *, whole: bool, failed: bool) -> Outcome:
    # A stream that had begun well tells its problem at its end.
    worst = max(status or 0, observed.problem_status or 0)
    if failed or worst >= 500:
        return "failed"
    if status in (None, LEFT) or not whole:
        return "left"
    if worst >= 400:
        return "refused"
    return observed.ended_well


def _level(path: str, outcome: Outcome) -> int:
    if outcome == "failed":
        return logging.WARNING
    return logging.DEBUG if path in _QUIET else logging.INFO
