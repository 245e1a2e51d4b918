"""Who asks a model: what all of them are told, and what they have to do."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from haystack.dataclasses import ChatMessage, StreamingChunk

from ragsaver.components.answer_schema import AnswerSchema

Listener = Callable[[StreamingChunk], None]
AsyncListener = Callable[[StreamingChunk], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt.

    :ivar output_tokens: that the endpoint has to be told as its limit.
    :ivar time_s: that it has.
    """

    messages: Sequence[ChatMessage]
    output_tokens: int
    time_s: float
    schema: AnswerSchema | None = None


class ChatGenerator(Protocol):
    """Asks one model. Errors of an attempt are its client's own; `say` puts them into words.

    :ivar takes_schemas: whether a schema for the answer goes with a call.
    :ivar streams: whether a call is heard piece by piece; else in one when it is done.
    :ivar awaits: whether it is ready for the event loop: `ready_async` has nothing left to do.
    """

    takes_schemas: bool
    streams: bool

    @property
    def awaits(self) -> bool: ...

    def ready(self) -> None:
        """Make what is needed to ask, once; called before anything is reserved.

        :raises GenerationError: if that can't be.
        """
        ...

    async def ready_async(self) -> None:
        """The same on the running event loop."""
        ...

    def ask(self, call: Call, listen: Listener | None) -> Mapping[str, Any]:
        """Haystack's replies to one attempt.

        :param listen: hears each piece as it comes.
        """
        ...

    async def ask_async(self, call: Call, listen: AsyncListener | None) -> Mapping[str, Any]:
        """The same on the running event loop."""
        ...

    def probe(self) -> str:
        """Whether it could answer, for people; nothing is generated, nothing is billed.

        :raises GenerationError: if it can't be reached or refuses the key.
        """
        ...

    def say(self, error: Exception) -> tuple[str, str]:
        """What was wrong with an attempt, and what to do."""
        ...
