"""Around every request: one id in its log lines, errors and answer, a bound on its body, and no bare failure."""

import re
import uuid
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragsaver.logs.setup import bound
from ragsaver.server.problems import is_trusted, problem_of, problem_of_http, problem_response

HEADER = "x-request-id"
_SANE = re.compile(r"[A-Za-z0-9._-]{8,128}")


class RequestId:
    """Takes the caller's id if it is sane, makes one otherwise; refuses bodies that are too large; tells failures."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(HEADER, "")
        request_id = given if _SANE.fullmatch(given) else f"req_{uuid.uuid4().hex}"
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        taken = 0
        begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.max_body_bytes:
                raise BodyTooLarge(self.max_body_bytes)
            return message

        try:
            declared = headers.get("content-length", "0")
            if declared.isdigit() and int(declared) > self.max_body_bytes:
                raise BodyTooLarge(self.max_body_bytes)
            with bound(request_id=request_id):
                await self.app(scope, bounded, send_with_id)
        except BodyTooLarge as error:
            await problem_response(problem_of_http(error, scope["path"], request_id))(scope, receive, send_with_id)
        except Exception as error:
            problem = problem_of(error, scope["path"], request_id, trusted=is_trusted(state))
            if begun:  # too late for a problem document: the connection is cut
                raise
            await problem_response(problem)(scope, receive, send_with_id)


class BodyTooLarge(HTTPException):
    """The body is longer than `server.max_body_mb`; routes let no other error of a body through as it is."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(
            413, f"at most {most_bytes} bytes are allowed: send less at a time, or raise `server.max_body_mb`"
        )
