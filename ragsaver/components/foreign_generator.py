"""A model asked by a chat generator of Haystack's integrations, or of the team's own.

It is loaded from the settings as Haystack loads a component. What it can't do by itself is done around it: one without
`run_async` is asked in a thread, one that does not stream is heard in one piece, and no call is waited for longer than
it has.
"""

import asyncio
import threading
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from haystack.core.serialization import component_from_dict, generate_qualified_class_name
from haystack.dataclasses import ChatMessage, StreamingChunk

from ragsaver.addresses import without_password
from ragsaver.components.chat_generators import AsyncListener, Call, Listener
from ragsaver.components.endpoint_errors import Remedies, in_short, say
from ragsaver.components.generator_class import generator_class
from ragsaver.components.on_a_thread import Deliver, wait, wait_async
from ragsaver.errors import GenerationError
from ragsaver.settings import ChatGeneratorSettings, ModelSettings

_REMEDIES = Remedies(
    key="Check the key in `generator.init_parameters` of the model, and the variable that it names",
    model="Check `name` of the model, and the address in its `generator.init_parameters`",
    address="Check the address in `generator.init_parameters` of the model, and that the server runs",
    unreadable="Check `generator` of the model, and what its class says about that",
)


class ForeignGenerator:
    """Asks a model by a class that its settings name.

    :raises SettingsError: if the class is not there, or not fit.
    """

    takes_schemas = False

    def __init__(self, model: ModelSettings, wishes: ChatGeneratorSettings) -> None:
        self._place = foreign_place(model, wishes)
        self._class = generator_class(model, wishes)
        self.streams = self._class.streams
        self._each_time = dict(wishes.generation_kwargs)
        self._built: Any = None
        self._warm = self._warm_async = False
        self._has_for_loops = self._class.asks_async and hasattr(self._class.cls, "warm_up_async")
        self._making = threading.Lock()

    def ready(self) -> None:
        """Make it, and warm it up.

        :raises GenerationError: if it can't be made: a key is missing, say.
        """
        with self._making:
            self._make()
            if not self._warm:
                self._warm_up()
                self._warm = True

    @property
    def awaits(self) -> bool:
        """Whether it is warmed up for the event loop, where it has something for that."""
        return self._warm_async if self._has_for_loops else self._warm

    async def ready_async(self) -> None:
        """The same; what it has for the event loop is warmed up there, else in a thread."""
        if self.awaits:
            return
        if not self._has_for_loops:
            await asyncio.to_thread(self.ready)
            return
        await asyncio.to_thread(self._made)
        try:
            await self._built.warm_up_async()
        except Exception as error:
            raise self._not_made(error) from error
        self._warm_async = True

    def ask(self, call: Call, listen: Listener | None) -> Mapping[str, Any]:
        """One attempt.

        :raises TimeoutError: if it is not done in time.
        """
        hear = listen or _unheard
        streams = listen is not None and self.streams
        result = wait(lambda deliver: self._run(call, deliver if streams else None), hear, call.time_s)
        if listen is not None and not streams and (chunk := _whole(result)):
            listen(chunk)
        return _replied(result)

    async def ask_async(self, call: Call, listen: AsyncListener | None) -> Mapping[str, Any]:
        """One attempt on the running event loop; the caller bounds its time."""
        streams = listen is not None and self.streams
        if self._class.asks_async:
            result = await self._built.run_async(**self._given(call, listen if streams else None))
        else:
            hear = listen or _unheard_async
            result = await wait_async(lambda deliver: self._run(call, deliver if streams else None), hear)
        if listen is not None and not streams and (chunk := _whole(result)):
            await listen(chunk)
        return _replied(result)

    def probe(self) -> str:
        """Only whether it can be made: how an endpoint is asked for nothing is known for no class but our own."""
        self._made()
        return f"{self._place} is set up, not probed"

    def say(self, error: Exception) -> tuple[str, str]:
        """What was wrong with an attempt, and what to do."""
        return say(error, _REMEDIES)

    def _made(self) -> None:
        with self._making:
            self._make()

    def _make(self) -> None:
        if self._built is not None:
            return
        cls = self._class.cls
        data = {"type": generate_qualified_class_name(cls), "init_parameters": deepcopy(dict(self._class.parameters))}
        try:
            self._built = component_from_dict(cls, data, cls.__name__)
        except Exception as error:  # a component of anybody's may raise anything
            raise self._not_made(error) from error

    def _warm_up(self) -> None:
        if hasattr(self._built, "warm_up"):
            try:
                self._built.warm_up()
            except Exception as error:
                raise self._not_made(error) from error

    def _not_made(self, error: Exception) -> GenerationError:
        return GenerationError(
            f"can't be made ({in_short(error)})",
            where=self._place,
            remedy="Check `generator.init_parameters` of the model, and the variables that it names",
        )

    def _run(self, call: Call, deliver: Deliver[StreamingChunk] | None) -> Any:
        return self._built.run(**self._given(call, deliver))

    def _given(self, call: Call, listen: Listener | AsyncListener | None) -> dict[str, Any]:
        # all of them: not every class lays what `run` is given over what it was made with
        kwargs = {**self._each_time, self._class.limit: call.output_tokens}
        given: dict[str, Any] = {"messages": list(call.messages), "generation_kwargs": kwargs}
        if listen is not None:
            given["streaming_callback"] = listen
        return given


def foreign_place(model: ModelSettings, wishes: ChatGeneratorSettings) -> str:
    """Its class, its address where it has one of its own, and its name."""
    name = wishes.type.rsplit(".", 1)[-1]
    at = f" at {without_password(wishes.address)}" if wishes.address else ""
    return f"{name}{at} ({model.name})"


def _replied(result: Any) -> Mapping[str, Any]:
    replies = result.get("replies") if isinstance(result, Mapping) else None
    if not isinstance(replies, list) or not all(isinstance(one, ChatMessage) for one in replies):
        raise TypeError("`run` must give `replies`, a list of ChatMessage")
    return {"replies": replies}


def _whole(result: Any) -> StreamingChunk | None:
    replies = _replied(result)["replies"]
    text = replies[0].text if replies else None
    return StreamingChunk(content=text) if text else None


def _unheard(chunk: StreamingChunk) -> None:
    """Nobody wants the pieces."""


async def _unheard_async(chunk: StreamingChunk) -> None:
    """Nobody wants the pieces."""
