"""Most questions come as plain JSON without a wish in their headers: these go to their route at once.

What is told apart for each request by declarations (headers, body, who asks) takes FastAPI longer than a cached answer
takes to look up. Whatever is not plain, or wrong in any way, goes FastAPI's way, which also tells what was wrong.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from ragsaver.access.identity import Identity, Permission
from ragsaver.server.access import Access, identity_of
from ragsaver.server.asking import Wishes, caching_of
from ragsaver.server.schemas import QueryBody

_LONGEST = 64 * 1024
_WISH = b"x-ragsaver-"

Answer = Callable[[QueryBody, Access, Identity, Wishes, Request], Coroutine[Any, Any, Response]]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PlainQuestions(APIRoute):
    """A route of an `Answer`, declared as any other."""

    def get_route_handler(self) -> Handler:
        """What answers a request."""
        usual, answer = super().get_route_handler(), self.endpoint

        async def handle(request: Request) -> Response:
            wishes = _wishes(request.scope["headers"])
            body = await _body(request) if wishes is not None else None
            if wishes is None or body is None:
                return await usual(request)
            identity = identity_of(request)
            identity.require(Permission.QUERY)
            response: Response = await answer(body, request.app.state.access, identity, wishes, request)
            return response

        return handle


def _wishes(headers: list[tuple[bytes, bytes]]) -> Wishes | None:
    """What the headers wish; None if they have to be read closely."""
    length, is_json, cache_control = _LONGEST + 1, False, None
    for name, value in headers:
        if name.startswith(_WISH):
            return None
        if name == b"content-type":
            is_json = value.partition(b";")[0].strip().lower() == b"application/json"
            if not is_json:
                return None
        elif name == b"content-length" and value.isdigit():
            length = int(value)
        elif name == b"cache-control" and cache_control is None:
            cache_control = value.decode("latin-1")
    if not is_json or length > _LONGEST:
        return None
    return Wishes(caching=caching_of(cache_control or ""))


async def _body(request: Request) -> QueryBody | None:
    """None if it is none; the request keeps it for who tells why."""
    try:
        return QueryBody.model_validate(json.loads(await request.body()))
    except Exception:
        return None
