"""The rung of the ladder that a stream is served from, for its headers: they are sent before the answer is there."""

import asyncio


class ServedFrom:
    """Told by the engine, and told anew if another rung answers; used on one event loop."""

    def __init__(self) -> None:
        self._rung: str | None = None
        self._settled = asyncio.Event()

    def tell(self, rung: str) -> None:
        """This is the rung as far as is known."""
        self._rung = rung
        self._settled.set()

    def end(self) -> None:
        """Nobody will tell it any more, if it was not told yet."""
        self._settled.set()

    async def known(self) -> None:
        """Until it is told, or never will be."""
        await self._settled.wait()

    @property
    def headers(self) -> dict[str, str]:
        """Of a stream that begins now; none where no rung serves it."""
        return {} if self._rung is None else {"x-ragsaver-rung": self._rung}
