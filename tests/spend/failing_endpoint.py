"""A slow endpoint that fails in every way and knows what it billed."""

import asyncio
import json
import random
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

PRICES = {"tiny": {"input_per_mtok": "1", "cached_input_per_mtok": "0.5", "output_per_mtok": "10"}}
PROMPT = {"prompt_tokens": 20, "prompt_tokens_details": {"cached_tokens": 7}}
PROMPT_COST = 13 + 4  # of 7 at half a micro-dollar the last half counts as a whole one
LONGEST = 80


@dataclass
class Call:
    """What the endpoint knows of one call: tokens that it wrote, told or not.

    :ivar limit: tokens that it was told it may write.
    :ivar told: whether it said what it used.
    """

    limit: int
    written: int = 0
    read: bool = False
    told: bool = False

    @property
    def cost(self) -> int:
        return PROMPT_COST + 10 * self.written if self.read else 0


@dataclass
class Endpoint:
    """Answers, or fails, as the seed has it; questions end with their number.

    :ivar heard: told of each call's number; the call is answered once it returns.
    :ivar hang_s: seconds after which it answers some.
    """

    seed: int
    heard: Callable[[int], Awaitable[None]]
    hang_s: float = 30.0
    calls: dict[int, list[Call]] = field(default_factory=lambda: defaultdict(list))
    url: str = ""

    def total(self) -> int:
        return sum(call.cost for calls in self.calls.values() for call in calls)

    async def answer(self, request: HttpRequest) -> Response:
        body = await request.json()
        asked, call = int(body["messages"][-1]["content"].split()[-1]), Call(body["max_tokens"])
        chance = random.Random(f"{self.seed} {asked} {len(self.calls[asked])}")
        self.calls[asked].append(call)
        await self.heard(asked)
        await asyncio.sleep(chance.uniform(0, 0.1))
        fate = chance.random()
        if fate < 0.12:
            return JSONResponse({"error": {"message": "slower"}}, 429, {"retry-after": "0"})
        if fate < 0.2:
            return JSONResponse({"error": {"message": "overloaded"}}, 503)
        call.read = True
        length = min(chance.randint(1, LONGEST), call.limit)
        if fate < 0.26:
            call.written = length
            return JSONResponse({"error": {"message": "after all that work"}}, 500)
        if fate < 0.3:
            call.written = length
            await asyncio.sleep(self.hang_s)
        cut = chance.randint(0, length) if fate < 0.4 else None
        tells = not 0.4 <= fate < 0.52
        if body.get("stream"):
            return StreamingResponse(self._stream(call, length, cut, tells, chance), media_type="text/event-stream")
        call.written = length
        await asyncio.sleep(chance.uniform(0, 0.2))
        message = {"role": "assistant", "content": "word " * length}
        choice = {"index": 0, "message": message, "finish_reason": _finish(call)}
        call.told = tells
        usage = {"usage": _usage(length)} if tells else {}
        return JSONResponse({**_head("chat.completion"), "choices": [choice], **usage})

    async def _stream(
        self, call: Call, length: int, cut: int | None, tells: bool, chance: random.Random
    ) -> AsyncIterator[str]:
        for number in range(length):
            if number == cut:
                call.written = max(call.written, length)  # it was ahead of what it sent
                return
            call.written = max(call.written, number + 1)
            yield _event([{"index": 0, "delta": {"content": "word "}, "finish_reason": None}], None)
            if number % 8 == 0:
                await asyncio.sleep(chance.uniform(0, 0.03))
        yield _event([{"index": 0, "delta": {}, "finish_reason": _finish(call)}], None)
        if tells:
            call.told = True
            yield _event([], _usage(length))
        yield "data: [DONE]\n\n"


def _finish(call: Call) -> str:
    return "length" if call.written == call.limit else "stop"


def _usage(length: int) -> dict[str, Any]:
    return {**PROMPT, "completion_tokens": length, "total_tokens": 20 + length}


def _head(kind: str) -> dict[str, Any]:
    return {"id": "chat-1", "object": kind, "created": 1, "model": "tiny"}


def _event(choices: list[Any], usage: dict[str, Any] | None) -> str:
    return f"data: {json.dumps({**_head('chat.completion.chunk'), 'choices': choices, 'usage': usage})}\n\n"


@contextmanager
def endpoint(seed: int, heard: Callable[[int], Awaitable[None]], hang_s: float = 30.0) -> Iterator[Endpoint]:
    made = Endpoint(seed, heard, hang_s)
    app = Starlette(routes=[Route("/v1/chat/completions", made.answer, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=1))
    sockets = [server.config.bind_socket()]
    made.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/v1"
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.should_exit = True
        thread.join()
