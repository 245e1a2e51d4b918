"""What makes an answer's parts stops when nobody reads them."""

import asyncio
from collections.abc import AsyncIterator

from ragsaver.server.pump import Pump, Pumped


def test_who_left_before_the_first_event_ends_what_is_under_way():
    ended: list[str] = []

    async def parts() -> AsyncIterator[str]:
        try:
            yield "a part"
            await asyncio.Event().wait()
        finally:
            ended.append("parts")
            await asyncio.sleep(0)
            ended.append("put away")

    async def leave() -> None:
        pump = Pump(parts())
        assert await anext(pump) == "a part"

        async def events() -> AsyncIterator[dict[str, str]]:
            yield {"data": await anext(pump)}

        async def receive() -> dict[str, str]:
            return {"type": "http.disconnect"}

        async def send(message: object) -> None:
            await asyncio.Event().wait()

        scope = {"type": "http", "method": "POST"}
        await Pumped(events(), pump, {}).__call__(scope, receive, send)
        assert ended == ["parts", "put away"]

    asyncio.run(leave())
