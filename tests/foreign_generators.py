"""Chat generators as a team may have its own: they speak to `openai_server` by a client that is not OpenAI's, in names
that are not OpenAI's.
"""

import json
from typing import Any

import httpx
from haystack import component
from haystack.dataclasses import ChatMessage, StreamingChunk
from haystack.dataclasses.streaming_chunk import StreamingCallbackT
from haystack.utils import Secret

# As Anthropic's API tells it.
ANTHROPIC = {"input_tokens": 60, "cache_read_input_tokens": 40, "cache_creation_input_tokens": 0, "output_tokens": 20}


class Client:
    """What all of them share; `run` of each says what it takes."""

    def __init__(
        self,
        url: str,
        model: str = "somebody's",
        api_key: Secret | None = None,
        generation_kwargs: dict[str, Any] | None = None,
        timeout: float = 3600,
        max_retries: int = 7,
    ) -> None:
        self.url, self.model, self.api_key, self.timeout = f"{url}/chat/completions", model, api_key, timeout
        self.max_retries = max_retries

    def wish(self, messages: list[ChatMessage], kwargs: dict[str, Any] | None, stream: bool) -> dict[str, Any]:
        said = [{"role": str(message.role), "content": message.text} for message in messages]
        return {"url": self.url, "json": {"model": self.model, "messages": said, "stream": stream, **(kwargs or {})}}

    def reply(self, body: dict[str, Any]) -> dict[str, list[ChatMessage]]:
        (choice,) = body["choices"]
        meta = {"finish_reason": choice["finish_reason"], "usage": body["usage"], "model": self.model}
        return {"replies": [ChatMessage.from_assistant(choice["message"]["content"], meta=meta)]}


class Heard:
    """A stream, put together."""

    def __init__(self) -> None:
        self.text, self.meta = "", {"finish_reason": None}

    def take(self, line: str) -> str:
        if not line.startswith("data: {"):
            return ""
        event = json.loads(line.removeprefix("data: "))
        if event["usage"]:
            self.meta["usage"] = event["usage"]
        piece = ""
        for choice in event["choices"]:
            piece = choice["delta"].get("content", "")
            self.meta["finish_reason"] = choice["finish_reason"]
        self.text += piece
        return piece

    def reply(self) -> dict[str, list[ChatMessage]]:
        return {"replies": [ChatMessage.from_assistant(self.text, meta=self.meta)]}


@component
class Blocking(Client):
    """Streams, and knows no event loop."""

    @component.output_types(replies=list[ChatMessage])
    def run(
        self,
        messages: list[ChatMessage],
        streaming_callback: StreamingCallbackT | None = None,
        generation_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, list[ChatMessage]]:
        wish = self.wish(messages, generation_kwargs, streaming_callback is not None)
        with httpx.Client(timeout=self.timeout) as client:
            if streaming_callback is None:
                return self.reply(client.post(**wish).raise_for_status().json())
            heard = Heard()
            with client.stream("POST", **wish) as answer:
                for line in answer.raise_for_status().iter_lines():
                    if piece := heard.take(line):
                        streaming_callback(StreamingChunk(content=piece))
            return heard.reply()


@component
class Whole(Client):
    """Does not stream, and says nothing of why an answer ended."""

    @component.output_types(replies=list[ChatMessage])
    def run(
        self, messages: list[ChatMessage], generation_kwargs: dict[str, Any] | None = None
    ) -> dict[str, list[ChatMessage]]:
        answer = httpx.post(**self.wish(messages, generation_kwargs, False), timeout=self.timeout)
        reply = self.reply(answer.raise_for_status().json())["replies"][0]
        return {"replies": [ChatMessage.from_assistant(reply.text, meta={"usage": reply.meta["usage"]})]}


@component
class Both(Client):
    """Streams, and runs on an event loop too."""

    @component.output_types(replies=list[ChatMessage])
    def run(
        self,
        messages: list[ChatMessage],
        streaming_callback: StreamingCallbackT | None = None,
        generation_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, list[ChatMessage]]:
        return Blocking.run(self, messages, streaming_callback, generation_kwargs)

    @component.output_types(replies=list[ChatMessage])
    async def run_async(
        self,
        messages: list[ChatMessage],
        streaming_callback: StreamingCallbackT | None = None,
        generation_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, list[ChatMessage]]:
        wish = self.wish(messages, generation_kwargs, streaming_callback is not None)
        async with httpx.AsyncClient(timeout=self.timeout) as client:
            if streaming_callback is None:
                return self.reply((await client.post(**wish)).raise_for_status().json())
            heard = Heard()
            async with client.stream("POST", **wish) as answer:
                async for line in answer.raise_for_status().aiter_lines():
                    if piece := heard.take(line):
                        await streaming_callback(StreamingChunk(content=piece))
            return heard.reply()


@component
class Wrapping(Client):
    """Has an error of its own for everything, as Bedrock's and Google's have."""

    @component.output_types(replies=list[ChatMessage])
    def run(
        self, messages: list[ChatMessage], generation_kwargs: dict[str, Any] | None = None
    ) -> dict[str, list[ChatMessage]]:
        try:
            answer = httpx.post(**self.wish(messages, generation_kwargs, False), timeout=self.timeout)
            return self.reply(answer.raise_for_status().json())
        except Exception as error:
            raise RuntimeError("the house is sorry") from error


@component
class Keyed(Client):
    """Wants a key that must be there."""

    def __init__(self, url: str, api_key: Secret) -> None:
        Client.__init__(self, url, api_key=api_key)
        self.key = api_key.resolve_value()

    @component.output_types(replies=list[ChatMessage])
    def run(
        self, messages: list[ChatMessage], generation_kwargs: dict[str, Any] | None = None
    ) -> dict[str, list[ChatMessage]]:
        return Blocking.run(self, messages, None, generation_kwargs)


@component
class Deaf:
    """Can't be told the limit of an answer."""

    @component.output_types(replies=list[ChatMessage])
    def run(self, messages: list[ChatMessage]) -> dict[str, list[ChatMessage]]:
        return {"replies": []}


class NoGenerator:
    """Runs, and not on messages."""

    def run(self, text: str) -> str:
        return text
