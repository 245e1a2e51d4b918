"""Clients who ask several servers at once: who asks what of whom, who leaves when, and what each was told."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import httpx

QUESTION = "Who issues the export permit for parrots, number"


@dataclass(frozen=True)
class Ask:
    """One question.

    :ivar after_pieces: of a stream, its caller leaves.
    :ivar when_heard: its caller leaves once the endpoint was asked.
    :ivar late: the endpoint does not answer before its deadline.
    :ivar most: micro-dollars that it may cost.
    """

    number: int
    server: int
    tenant: str
    principal: str
    stream: bool
    after_pieces: int | None = None
    when_heard: bool = False
    late: bool = False
    most: int | None = None

    @property
    def id(self) -> str:
        return f"request_{self.number}"

    @property
    def headers(self) -> dict[str, str]:
        headers = {"x-request-id": self.id}
        if self.late:
            headers["x-ragsaver-deadline"] = "4"
        if self.most is not None:
            headers["x-ragsaver-max-cost"] = f"{self.most / 1_000_000:f}"
        return headers


@dataclass(frozen=True)
class Told:
    """What became of it for its caller; `broken` is a connection that the server did not end."""

    how: Literal["answered", "refused", "left", "broken"]
    status: int = 0
    kind: str = ""
    cost_usd: float = 0.0


@dataclass
class Course:
    """The order of things: no call is answered until so many are at the endpoint, and all questions were sent; then
    those of server 0 wait on until it is killed, but for some.

    :ivar early: questions to server 0 below this number are asked before all others, so that it has its share.
    :ivar first: calls of server 0 after which the others are asked. Thrice as many of its questions are spared; it is
        killed when so many of those have ended.
    :ivar together: calls in all, before any is answered.
    """

    asks: Sequence[Ask]
    early: int
    first: int
    together: int
    sent: int = 0
    waiting: int = 0
    spared: set[int] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)
    first_there: Future[None] = field(default_factory=Future)
    all_there: Future[None] = field(default_factory=Future)
    all_sent: Future[None] = field(default_factory=Future)
    some_ended: Future[None] = field(default_factory=Future)
    killed: Future[None] = field(default_factory=Future)
    heard: dict[int, Future[None]] = field(default_factory=lambda: defaultdict(Future))

    async def hear(self, number: int) -> None:
        """What the endpoint does before it answers a call."""
        one = self.asks[number]
        if one.late:
            await asyncio.sleep(600)
        if not self.all_there.done():
            self.waiting += 1
            if one.server == 0 and len(self.spared) < 3 * self.first:
                self.spared.add(number)
            if len(self.spared) >= self.first:
                _set(self.first_there)
            if self.waiting == self.together:
                _set(self.all_there)
            await reached(self.all_there)
            await reached(self.all_sent)
        _set(self.heard[number])
        if one.server == 0 and number not in self.spared:
            await reached(self.killed)

    async def trace(self, event: str, _: object) -> None:
        """What the client does."""
        if event == "http11.send_request_body.complete":
            self.sent += 1
        if self.sent == len(self.asks):
            _set(self.all_sent)

    def end(self, number: int) -> None:
        """A question's caller has what there is."""
        if number in self.spared:
            self.ended.add(number)
        if len(self.ended) >= self.first:
            _set(self.some_ended)


def _set(what: Future[None]) -> None:
    if not what.done():
        what.set_result(None)


async def reached(what: Future[None]) -> None:
    """Wait for it, on whatever loop."""
    await asyncio.shield(asyncio.wrap_future(what))


async def ask_all(
    course: Course, urls: Sequence[str], keys: Mapping[tuple[str, str], str], kill: Callable[[], None]
) -> list[Told]:
    """Ask all at once; `kill` ends server 0 while its calls are under way."""
    no_limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=None, limits=no_limits) as client:

        async def ask(one: Ask) -> Told:
            if one.server or one.number >= course.early:
                await reached(course.first_there)
            headers = {"authorization": f"Bearer {keys[one.tenant, one.principal]}", **one.headers}
            try:
                return await _ask(client, f"{urls[one.server]}/v1/query", headers, one, course)
            except httpx.TransportError:
                return Told("broken")
            finally:
                course.end(one.number)

        asked = [asyncio.create_task(ask(one)) for one in course.asks]
        await reached(course.some_ended)
        kill()
        course.killed.set_result(None)
        return await asyncio.gather(*asked)


async def _ask(client: httpx.AsyncClient, url: str, headers: dict[str, str], one: Ask, course: Course) -> Told:
    answering = asyncio.create_task(_answer(client, url, headers, one, course))
    if one.when_heard:
        leaving = asyncio.create_task(reached(course.heard[one.number]))
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not answering.done():
            answering.cancel()
            with suppress(asyncio.CancelledError):
                await answering
            return Told("left")
    return await answering


async def _answer(client: httpx.AsyncClient, url: str, headers: dict[str, str], one: Ask, course: Course) -> Told:
    body = {"query": f"{QUESTION} {one.number}", "stream": one.stream}
    tracing = {"trace": course.trace}
    async with client.stream("POST", url, json=body, headers=headers, extensions=tracing) as answer:
        if not answer.headers["content-type"].startswith("text/event-stream"):
            return _told(json.loads(await answer.aread()))
        kind, pieces = "", 0
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
                pieces += kind == "delta"
            elif line.startswith("data: ") and kind in ("result", "error"):
                return _told(json.loads(line.removeprefix("data: ")))
            if pieces == one.after_pieces:
                return Told("left")
    return Told("broken")


def _told(said: dict) -> Told:
    if "status" in said:
        return Told("refused", said["status"], said["type"])
    return Told("answered", cost_usd=said["receipt"]["cost_usd"])
