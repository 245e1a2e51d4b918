"""Sections are summarised by a language model of the settings, over the same client as answers.

Replies are streamed, so that an attempt ends when its time is over however slowly they drip, and so that what came of
one that broke off is known and billed.
"""

import time
from collections.abc import Callable, Sequence

from haystack.dataclasses import ChatMessage, StreamingChunk

from ragsaver.components.chat import ChatTier, CutReply
from ragsaver.errors import GenerationError, SettingsError
from ragsaver.ingestion.asking import Reply, Tokens
from ragsaver.settings import Settings
from ragsaver.spend.usage import TokenUsage

# What no other attempt mends: the request, the key, the model's name.
_HOPELESS = frozenset({400, 401, 403, 404, 413, 422})


class ChatSummariser:
    """One of `generation.models`; it answers no more than `outline.summary_max_tokens`.

    :param count_tokens: of each of some texts, where the endpoint does not tell.
    :raises SettingsError: if there is no model of that name.
    """

    def __init__(self, settings: Settings, count_tokens: Callable[[Sequence[str]], list[int]]) -> None:
        wanted = settings.outline.summary_model
        model = next((one for one in settings.generation.models if one.name == wanted), None)
        if model is None:
            raise SettingsError(
                f"`outline.summary_model` ({wanted}) is none of `generation.models`",
                remedy="Write it there, with its endpoint",
            )
        limits = {"max_output_tokens": settings.outline.summary_max_tokens, "max_retries": 0}
        self._tier = ChatTier(model.model_copy(update=limits), count_tokens)
        self._timeout_s = model.timeout_s

    def ask(self, instructions: str, data: str, timeout_s: float) -> Reply:
        """One attempt."""
        limit_s = min(timeout_s, self._timeout_s)
        end = time.monotonic() + limit_s

        def listen(chunk: StreamingChunk) -> None:
            if time.monotonic() > end:
                raise TimeoutError

        messages = [ChatMessage.from_system(instructions), ChatMessage.from_user(data)]
        try:
            reply = self._tier.reply(messages, listen, timeout_s=limit_s)
        except CutReply as error:
            return Reply("", _tokens(error.usage), problem=error.problem)
        except GenerationError as error:
            status = getattr(error.__cause__, "status_code", None)
            return Reply("", problem=error.problem, again=status not in _HOPELESS, wait_s=_retry_after(error))
        return Reply(reply.text, _tokens(reply.usage), complete=reply.finish_reason != "length")


def _tokens(usage: TokenUsage) -> Tokens:
    return Tokens(usage.fresh + usage.cache_write, usage.cache_read, usage.answered)


def _retry_after(error: GenerationError) -> float | None:
    """Seconds that the endpoint asks to be left alone; None if it says nothing of the kind."""
    headers = getattr(getattr(error.__cause__, "response", None), "headers", {})
    try:
        return max(float(headers.get("retry-after", "")), 0.0)
    except ValueError:  # it may also be a date
        return None
