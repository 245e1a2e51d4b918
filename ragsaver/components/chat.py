"""One language model behind an OpenAI-compatible endpoint: its reply, what it billed, or a clear error.

Streamed or not, every attempt is paid for beforehand and settled afterwards; where the endpoint does not say what it
used, or cuts the stream, it is charged what it may have used, so that no call is ever recorded as free.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import tenacity
from haystack.dataclasses import ChatMessage, StreamingChunk

from ragsaver.addresses import without_password
from ragsaver.components.answer_schema import AnswerSchema
from ragsaver.components.attempts import patience
from ragsaver.components.breaker import Breaker, breaker_of
from ragsaver.components.chat_reply import ChatReply, CutReply
from ragsaver.components.paid_attempt import Attempt
from ragsaver.components.request import current_request
from ragsaver.components.retry_budget import RetryBudget, retry_budget_of
from ragsaver.components.token_counts import TierTokens, TokenCounter
from ragsaver.deadline import time_left_s
from ragsaver.errors import GenerationError, GenerationLate
from ragsaver.settings import ModelSettings, environment
from ragsaver.spend.till import Till
from ragsaver.spend.usage import TokenUsage, read_usage

SyncCallback = Callable[[StreamingChunk], None]
AsyncCallback = Callable[[StreamingChunk], Awaitable[None]]

_OPENAI = "api.openai.com"
_PROBE_S = 5.0
_NO_KEY = "none"  # local servers take any


@dataclass(slots=True)
class _Heard:
    """What a stream delivered so far."""

    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def take(self, chunk: StreamingChunk) -> None:
        self.pieces.append(chunk.content)


class ChatTier:
    """A model of the settings, called through Haystack's OpenAI chat generator.

    :param settings: name, endpoint, key, limits.
    :param count_tokens: the shipped tokenizer; counts where the endpoint doesn't, and the model's own is not there.
    :param till: where each attempt is paid for; nobody is billed if None.
    :param tier: what people call it.
    :param task: answers to it are about as long as each other.
    :raises SettingsError: if the settings name a tokenizer that is not there.
    """

    def __init__(
        self,
        settings: ModelSettings,
        count_tokens: TokenCounter,
        till: Till | None = None,
        *,
        tier: str = "small",
        task: str = "answer",
    ) -> None:
        self.settings = settings
        self.tier = tier
        self.task = task
        self.tokens = TierTokens(settings, count_tokens, till.margin if till is not None else 0.0)
        self._till = till
        self._built: Any = None

    def reply(
        self,
        messages: Sequence[ChatMessage],
        on_chunk: SyncCallback | None = None,
        *,
        timeout_s: float | None = None,
        again: bool = False,
    ) -> ChatReply:
        """Ask the model, again if it makes sense and its endpoint's budget of retries has room.

        :param on_chunk: called with each piece as it comes; what it raises ends the call.
        :param timeout_s: of one attempt, in place of the settings'.
        :param again: whether the caller has asked before and `may_ask_again` said yes: it is no first attempt.
        :raises GenerationError: naming endpoint and model, with the remedy.
        :raises BudgetExceeded: if a budget has no room for the next attempt.
        :raises TooExpensive: if the request's own ceiling has none.
        """
        generator = self._generator()
        tokens = self._bound(messages)
        for attempt in tenacity.Retrying(**self._patience()):
            with attempt, self._breaker().attempt():
                self._count_first(attempt, again)
                return self._attempt(generator, messages, on_chunk, tokens, self._time_s(timeout_s))
        raise AssertionError("the last attempt returns or raises")

    async def reply_async(
        self,
        messages: Sequence[ChatMessage],
        on_chunk: AsyncCallback | None = None,
        *,
        timeout_s: float | None = None,
    ) -> ChatReply:
        """Ask the model on the running event loop. A task that is cancelled still settles."""
        generator = self._generator()
        tokens = self._bound(messages)
        async for attempt in tenacity.AsyncRetrying(**self._patience()):
            with attempt, self._breaker().attempt():
                self._count_first(attempt)
                return await self._attempt_async(generator, messages, on_chunk, tokens, self._time_s(timeout_s))
        raise AssertionError("the last attempt returns or raises")

    def _attempt(
        self,
        generator: Any,
        messages: Sequence[ChatMessage],
        on_chunk: SyncCallback | None,
        tokens: int,
        time_s: float,
    ) -> ChatReply:
        heard = _Heard()
        end = time.monotonic() + time_s
        paid = Attempt(self._till, self.settings, self.tier, self.task, tokens, time_s)
        paid.reserve()

        def listen(chunk: StreamingChunk) -> None:
            heard.take(chunk)
            if time.monotonic() > end:
                raise TimeoutError
            if on_chunk is not None:
                on_chunk(chunk)

        try:
            result = generator.run(
                messages=list(messages),
                streaming_callback=listen if on_chunk else None,
                generation_kwargs=self._wishes(paid.output_tokens, streaming=on_chunk is not None, timeout_s=time_s),
            )
            reply = self._read(result, messages, heard, paid.output_tokens, streamed=on_chunk is not None)
        except BaseException as error:
            paid.settle(None, error)
            if not isinstance(error, Exception):
                raise
            raise self._explain(error, heard, paid) from _cause(error)
        paid.settle(reply)
        return reply

    async def _attempt_async(
        self,
        generator: Any,
        messages: Sequence[ChatMessage],
        on_chunk: AsyncCallback | None,
        tokens: int,
        time_s: float,
    ) -> ChatReply:
        heard = _Heard()
        paid = Attempt(self._till, self.settings, self.tier, self.task, tokens, time_s)
        await paid.reserve_async()

        async def listen(chunk: StreamingChunk) -> None:
            heard.take(chunk)
            if on_chunk is not None:
                await on_chunk(chunk)

        try:
            async with asyncio.timeout(time_s):
                result = await generator.run_async(
                    messages=list(messages),
                    streaming_callback=listen if on_chunk else None,
                    generation_kwargs=self._wishes(
                        paid.output_tokens, streaming=on_chunk is not None, timeout_s=time_s
                    ),
                )
            reply = self._read(result, messages, heard, paid.output_tokens, streamed=on_chunk is not None)
        except BaseException as error:
            await paid.settle_async(None, error)
            if not isinstance(error, Exception):
                raise
            raise self._explain(error, heard, paid) from _cause(error)
        await paid.settle_async(reply)
        return reply

    def probe(self) -> str:
        """Whether the endpoint answers and knows the model; nothing is generated, nothing is billed.

        :raises GenerationError: if it can't be reached or refuses the key.
        """
        generator = self._generator()
        generator.warm_up()
        try:
            listed = generator.client.with_options(timeout=_PROBE_S, max_retries=0).models.list()
            known = {model.id for model in listed.data}
        except Exception as error:
            if getattr(error, "status_code", None) in (404, 405, 501):
                return f"{self._place} answers (it lists no models)"
            problem, remedy = _say(error)
            raise GenerationError(problem, where=self._place, remedy=remedy) from error
        return f"{self._place} answers" if self.settings.name in known else f"{self._place} answers, not listed there"

    def may_ask_again(self) -> bool:
        """For callers who repeat an attempt themselves: take a retry from the endpoint's budget, if it has one."""
        return budget_of(self.settings).again()

    @property
    def _place(self) -> str:
        return place_of(self.settings)

    def _generator(self) -> Any:
        if self._built is None:
            # by its own module: the package puts another in its place while it is imported, and a second thread may
            # be left with the first
            from haystack.components.generators.chat.openai import OpenAIChatGenerator
            from haystack.utils import Secret

            base_url = _base_url(self.settings)
            own = self.settings.api_key.get_secret_value() if self.settings.api_key else None
            key = own or environment("OPENAI_API_KEY") or (_NO_KEY if base_url else None)
            if key is None:
                raise GenerationError(
                    "there is no API key",
                    where=self._place,
                    remedy="Set OPENAI_API_KEY, or `api_key: ${NAME}` or `base_url` of the model in ragsaver.yaml",
                )
            self._built = OpenAIChatGenerator(
                api_key=Secret.from_token(key),
                model=self.settings.name,
                api_base_url=base_url,
                timeout=self.settings.timeout_s,
                max_retries=0,  # each attempt is paid for by itself
            )
        return self._built

    def _breaker(self) -> Breaker:
        return breaker_of(self._place, self.settings.rest_after_failures, self.settings.rest_s)

    def _patience(self) -> dict[str, Any]:
        return patience(self.settings.max_retries + 1, time_left_s(), self.settings.timeout_s, budget_of(self.settings))

    def _count_first(self, attempt: tenacity.AttemptManager, again: bool = False) -> None:
        if attempt.retry_state.attempt_number == 1 and not again:
            budget_of(self.settings).first()

    def _time_s(self, timeout_s: float | None) -> float:
        """Seconds that the next attempt has.

        :raises GenerationLate: if the request has none left.
        """
        time_s = self.settings.timeout_s if timeout_s is None else timeout_s
        left_s = time_left_s()
        if left_s is None:
            return time_s
        if left_s <= 0:
            raise GenerationLate("there is no time left to ask it", where=self._place, remedy="Allow for more time")
        return min(time_s, left_s)

    def _bound(self, messages: Sequence[ChatMessage]) -> int:
        texts = [message.text or "" for message in messages]
        if (schema := self._schema()) is not None:
            texts.append(schema.text)  # it is on the wire once more, and endpoints bill it
        return self._most(texts) if self._till is not None else sum(self.tokens.count(texts))

    def _most(self, texts: Sequence[str]) -> int:
        assert self._till is not None
        return self._till.bound(texts, self.tokens.count if self.tokens.own else None)

    def _wishes(self, output_tokens: int, *, streaming: bool, timeout_s: float) -> dict[str, Any]:
        # newer models of OpenAI take only the one name, most compatible servers only the other
        limit = "max_completion_tokens" if _is_openai(_base_url(self.settings)) else "max_tokens"
        wishes: dict[str, Any] = {limit: output_tokens, "timeout": timeout_s}
        if self.settings.temperature is not None:
            wishes["temperature"] = self.settings.temperature
        if self.settings.logprobs:
            wishes["logprobs"] = True
        if streaming:
            wishes["stream_options"] = {"include_usage": True}
        if (schema := self._schema()) is not None:
            # as `response_format` Haystack would parse the reply, and raise where it was cut
            wishes["extra_body"] = {"response_format": schema.on_the_wire}
        return wishes

    def _schema(self) -> AnswerSchema | None:
        request = current_request()
        return request.response_schema if request is not None and self.task == "answer" else None

    def _read(
        self, result: Mapping[str, Any], messages: Sequence[ChatMessage], heard: _Heard, most: int, *, streamed: bool
    ) -> ChatReply:
        replies: list[ChatMessage] = result.get("replies") or []
        if not replies:
            raise GenerationError("answered without a choice", where=self._place, remedy="Try again")
        reply = replies[0]
        finish = reply.meta.get("finish_reason")
        if streamed and finish is None:
            raise _BrokeOff
        usage = read_usage(reply.meta.get("usage")) or self._estimate(messages, reply.text or heard.text, most)
        name = str(reply.meta.get("model") or self.settings.name)
        return ChatReply(reply.text or "", name, usage, finish, _mean_logprob(reply.meta.get("logprobs")))

    def _estimate(self, messages: Sequence[ChatMessage], output: str, most: int) -> TokenUsage:
        """Tokens where the endpoint says nothing: as many as it may have counted, and no more than its limit of an
        answer that is within.
        """
        if self._till is not None:
            within = self.tokens.count([output])[0] <= most
            answered = min(self._most([output]), most) if within else self._most([output])
            return TokenUsage(fresh=self._bound(messages), output=answered, estimated=True)
        counts = self.tokens.count([*(message.text or "" for message in messages), output])
        return TokenUsage(fresh=sum(counts[:-1]), output=counts[-1], estimated=True)

    def _explain(self, error: Exception, heard: _Heard, paid: Attempt) -> GenerationError:
        if isinstance(error, GenerationError):
            return error
        problem, remedy = _say(error)
        if heard.text or isinstance(error, _BrokeOff):
            return CutReply(
                f"{problem}, in the middle of the answer" if not isinstance(error, _BrokeOff) else problem,
                where=self._place,
                remedy=remedy,
                usage=paid.usage,
            )
        return GenerationError(problem, where=self._place, remedy=remedy)


def place_of(model: ModelSettings) -> str:
    """Its endpoint and name, for errors."""
    return f"{without_password(_base_url(model) or _OPENAI)} ({model.name})"


def _base_url(model: ModelSettings) -> str | None:
    """Its endpoint; OpenAI's own if None."""
    return model.base_url or environment("OPENAI_BASE_URL")


def _is_openai(base_url: str | None) -> bool:
    return base_url is None or urlsplit(base_url).hostname == _OPENAI


def budget_of(model: ModelSettings) -> RetryBudget:
    """The budget of retries that all who ask its endpoint in this process share."""
    return retry_budget_of(place_of(model), model.retry_share, model.retry_least)


class _BrokeOff(Exception):
    """The stream ended, and the answer did not."""


def _cause(error: Exception) -> BaseException | None:
    return error.__cause__ if isinstance(error, GenerationError) else error


def _mean_logprob(told: Any) -> float | None:
    tokens = told.get("content") if isinstance(told, Mapping) else None
    known = [float(token["logprob"]) for token in tokens or () if token.get("logprob") is not None]
    return sum(known) / len(known) if known else None


def _say(error: Exception) -> tuple[str, str]:
    if isinstance(error, _BrokeOff):
        return (
            "the stream ended before the answer was complete",
            "Try again: what came until then is on the bill, at most what was held for it",
        )
    status = getattr(error, "status_code", None)
    name = type(error).__name__
    if status in (401, 403):
        return f"refused the API key (HTTP {status})", "Check `api_key` of the model, or OPENAI_API_KEY"
    if status == 404:
        return (
            "does not know the model or the path (HTTP 404)",
            "Check `name` and `base_url`; most end in /v1",
        )
    if status == 429:
        wait = getattr(getattr(error, "response", None), "headers", {}).get("retry-after")
        return "is over its rate limit (HTTP 429)", f"Try again in {wait} s" if wait else "Try again later"
    if status is not None:
        return f"failed (HTTP {status})", "Try again, and look at the endpoint's own log"
    if "Timeout" in name:
        return "did not answer in time", "Raise `timeout_s` of the model, or look at the endpoint"
    if "Connection" in name or "Protocol" in name or "Read" in name:
        return "can't be reached or broke the connection", "Check `base_url` and that the server runs"
    return (
        f"gave an answer that can't be read ({name}: {error})",
        "Check that the endpoint speaks the OpenAI protocol",
    )
