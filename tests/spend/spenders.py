"""Processes that spend on one ledger at once, and a slow endpoint that fails in every way and knows what it billed."""

import asyncio
import json
import random
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from haystack.dataclasses import ChatMessage
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ragsaver.components.account import account_of
from ragsaver.components.chat import ChatTier
from ragsaver.components.request import Request, running
from ragsaver.errors import BudgetExceeded, GenerationError
from ragsaver.index.scope import Scope
from ragsaver.settings import ModelSettings, Settings
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.receipt import open_receipt
from ragsaver.spend.till import Till

PRICES = {"tiny": {"input_per_mtok": "1", "cached_input_per_mtok": "0.5", "output_per_mtok": "10"}}
MOST_OUTPUT = 40
PROMPT = {"prompt_tokens": 20, "prompt_tokens_details": {"cached_tokens": 7}}
PROMPT_COST = 13 + 4  # of 7 at half a micro-dollar the last half counts as a whole one


def words(texts):
    return [len(text.split()) for text in texts]


@dataclass
class Call:
    """What the endpoint knows of one call: tokens that it wrote, told or not."""

    written: int = 0
    read: bool = False

    @property
    def cost(self) -> int:
        return PROMPT_COST + 10 * self.written if self.read else 0


@dataclass
class Endpoint:
    """Answers, or fails, as the seed has it.

    :ivar heard: told of each call's number, before it is answered.
    """

    seed: int
    heard: Callable[[int], None]
    calls: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    url: str = ""

    def total(self) -> int:
        return sum(call.cost for calls in self.calls.values() for call in calls)

    async def answer(self, request: HttpRequest) -> Response:
        body = await request.json()
        asked, call = body["messages"][-1]["content"].split()[-1], Call()
        chance = random.Random(f"{self.seed} {asked} {len(self.calls[asked])}")
        self.calls[asked].append(call)
        self.heard(int(asked))
        await asyncio.sleep(chance.uniform(0, 0.1))
        fate = chance.random()
        if fate < 0.12:
            return JSONResponse({"error": {"message": "slower"}}, 429, {"retry-after": "0"})
        if fate < 0.2:
            return JSONResponse({"error": {"message": "overloaded"}}, 503)
        call.read = True
        length = min(chance.randint(1, 2 * MOST_OUTPUT), body["max_tokens"])
        if fate < 0.26:
            call.written = length
            return JSONResponse({"error": {"message": "after all that work"}}, 500)
        if fate < 0.3:
            call.written = length
            await asyncio.sleep(30)  # longer than anybody waits
        if body.get("stream"):
            cut = chance.randint(0, length) if fate < 0.42 else None
            return StreamingResponse(self._stream(call, length, cut, chance), media_type="text/event-stream")
        call.written = length
        await asyncio.sleep(chance.uniform(0, 0.2))
        message = {"role": "assistant", "content": "word " * length}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse({**_head("chat.completion"), "choices": [choice], "usage": _usage(length)})

    async def _stream(self, call: Call, length: int, cut: int | None, chance: random.Random) -> AsyncIterator[str]:
        for number in range(length):
            if number == cut:
                call.written = max(call.written, length)  # it was ahead of what it sent
                return
            call.written = max(call.written, number + 1)
            yield _event([{"index": 0, "delta": {"content": "word "}, "finish_reason": None}], None)
            if number % 8 == 0:
                await asyncio.sleep(chance.uniform(0, 0.03))
        yield _event([{"index": 0, "delta": {}, "finish_reason": "stop"}], None)
        yield _event([], _usage(length))
        yield "data: [DONE]\n\n"


def _usage(length: int) -> dict[str, Any]:
    return {**PROMPT, "completion_tokens": length, "total_tokens": 20 + length}


def _head(kind: str) -> dict[str, Any]:
    return {"id": "chat-1", "object": kind, "created": 1, "model": "tiny"}


def _event(choices: list[Any], usage: dict[str, Any] | None) -> str:
    return f"data: {json.dumps({**_head('chat.completion.chunk'), 'choices': choices, 'usage': usage})}\n\n"


@contextmanager
def endpoint(seed: int, heard: Callable[[int], None]) -> Iterator[Endpoint]:
    made = Endpoint(seed, heard)
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


def spend(settings_json: str, url: str, numbers: range, seed: int, ready: Any, begin: Any) -> None:
    """Ask all of these at once, in one process; some leave before they have their answer.

    :param ready: a semaphore that it releases before it waits for `begin`, an event.
    """
    settings = Settings.model_validate_json(settings_json)
    till = Till(settings, PriceBook.of(settings.spend), words)
    model = ModelSettings(name="tiny", base_url=url, max_retries=2, max_output_tokens=MOST_OUTPUT, timeout_s=2.5)
    tier = ChatTier(model, words, till)

    async def ask(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        scope = Scope(f"tenant{number % 3}", "docs")
        request = Request(scope, f"user{number % 7}", request_id=f"req_{number}", pipeline="query")
        messages = [ChatMessage.from_user(f"Who issues the permit number {number}")]
        complete = False

        async def listen(chunk: object) -> None:
            await asyncio.sleep(0)

        await asyncio.sleep(chance.uniform(0, 1))
        with running(request), open_receipt() as receipt:
            reply = tier.reply_async(messages, listen if number % 3 else None)
            with suppress(BudgetExceeded, GenerationError, TimeoutError):
                await asyncio.wait_for(reply, chance.uniform(0.05, 0.6) if number % 5 == 0 else None)
                complete = True
        till.keep_receipt(account_of(request), receipt.close(), complete=complete)

    assert till.ledger
    ready.release()
    begin.wait()

    async def ask_all() -> None:
        await asyncio.gather(*map(ask, numbers))

    asyncio.run(ask_all())
    till.close()
