"""An answer as clients of OpenAI read it: whole or in chunks, with receipt and citations in the field `ragsaver`."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from ragsaver.components.prompt_builder import ABSTENTION
from ragsaver.pipelines.result import AskResult


def usage_of(result: AskResult) -> dict[str, Any]:
    """Tokens that language models billed for it, and `cost` in dollars; nothing where the free tier answered."""
    tokens = result.receipt.tokens
    prompt = tokens.input + tokens.cached_input
    return {
        "prompt_tokens": prompt,
        "completion_tokens": tokens.output,
        "total_tokens": prompt + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached_input},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "cost": float(result.receipt.cost_usd),
    }


def extension_of(result: AskResult, ignored: tuple[str, ...]) -> dict[str, Any]:
    """What only RAGSaver says: the whole result, and which fields of the request were left aside."""
    return {**result.model_dump(mode="json"), "ignored": list(ignored)}


class Completion:
    """The frame around one answer."""

    def __init__(self, request_id: str, model: str, ignored: tuple[str, ...]) -> None:
        self._head = {"id": f"chatcmpl-{request_id}", "created": int(time.time()), "model": model}
        self._ignored = ignored

    def whole(self, result: AskResult) -> dict[str, Any]:
        """A `chat.completion`."""
        message = {"role": "assistant", "content": result.answer or ABSTENTION, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": result.cut or "stop"}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage_of(result),
            "ragsaver": extension_of(result, self._ignored),
        }

    async def chunks(self, parts: AsyncIterator[str | AskResult], include_usage: bool) -> AsyncIterator[dict[str, Any]]:
        """The `chat.completion.chunk`s of an answer that comes in parts; the last one has `ragsaver`."""
        usage: dict[str, Any] = {"usage": None} if include_usage else {}
        yield {**self._chunk({"role": "assistant", "content": ""}), **usage}
        said = False
        async for part in parts:
            if isinstance(part, str):
                said = True
                yield {**self._chunk({"content": part}), **usage}
                continue
            if not said:
                yield {**self._chunk({"content": part.answer or ABSTENTION}), **usage}
            for last in self._ends(part, include_usage):
                yield last

    def _ends(self, result: AskResult, include_usage: bool) -> Iterator[dict[str, Any]]:
        told = {"ragsaver": extension_of(result, self._ignored)}
        end = self._chunk({}, result.cut or "stop")
        if not include_usage:
            yield {**end, **told}
            return
        yield {**end, "usage": None}
        yield {**end, "choices": [], "usage": usage_of(result), **told}

    def _chunk(self, delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
