"""One language model: its reply, what it billed, or a clear error.

Streamed or not, every attempt is paid for beforehand and settled afterwards; where the endpoint does not say what it
used, or cuts the stream, it is charged what it may have used, so that no call is ever recorded as free.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import tenacity
from haystack.dataclasses import ChatMessage, StreamingChunk

from ragsaver.components.answer_schema import AnswerSchema
from ragsaver.components.attempts import patience
from ragsaver.components.breaker import Breaker, breaker_of
from ragsaver.components.caller import Caller
from ragsaver.components.chat_generators import AsyncListener, Call, ChatGenerator, Listener
from ragsaver.components.chat_reply import ChatReply, CutReply, written
from ragsaver.components.endpoint_errors import BrokeOff, ran_out_of_time, retry_after_s
from ragsaver.components.foreign_generator import ForeignGenerator, foreign_place
from ragsaver.components.openai_generator import OpenAIGenerator, openai_place
from ragsaver.components.paid_attempt import Attempt
from ragsaver.components.request import current_caller, current_request, stage
from ragsaver.components.retry_budget import RetryBudget, retry_budget_of
from ragsaver.components.token_counts import TierTokens, TokenCounter
from ragsaver.deadline import time_left_s
from ragsaver.errors import GenerationError, GenerationLate
from ragsaver.settings import OUTPUT_LIMITS, ModelSettings
from ragsaver.spend.prompt_bound import prompt_bound
from ragsaver.spend.till import Till
from ragsaver.spend.usage import TokenUsage, read_usage

# A timeout after less says nothing about the endpoint.
_PATIENT_S = 5.0

_AT_THE_LIMIT = frozenset({"length", *(name.lower() for name in OUTPUT_LIMITS)})


@dataclass(slots=True)
class _Heard:
    """What a stream delivered so far."""

    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def take(self, chunk: StreamingChunk) -> StreamingChunk:
        text = written(chunk.content)
        self.pieces.append(text)
        return chunk if text == chunk.content else replace(chunk, content=text)


class ChatTier:
    """A model of the settings, asked by Haystack's client of the OpenAI protocol or by the chat generator they name.

    :param settings: name, endpoint, key, limits.
    :param count_tokens: the shipped tokenizer; counts where the endpoint doesn't, and the model's own is not there.
    :param till: where each attempt is paid for; nobody is billed if None.
    :param tier: what people call it.
    :param task: answers to it are about as long as each other.
    :raises SettingsError: if the settings name a tokenizer that is not there, or a generator that is not fit.
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
        self._generator = generator_of(settings)

    def reply(
        self,
        messages: Sequence[ChatMessage],
        on_chunk: Listener | None = None,
        *,
        timeout_s: float | None = None,
        again: bool = False,
    ) -> ChatReply:
        """Ask the model, again if it makes sense and its endpoint's budget of retries has room.

        Where nobody hears the pieces, and somebody waits who may leave, what takes long ends with him.

        :param on_chunk: called with each piece as it comes; what it raises ends the call.
        :param timeout_s: of one attempt, in place of the settings'.
        :param again: whether the caller has asked before and `may_ask_again` said yes: it is no first attempt.
        :raises GenerationError: naming endpoint and model, with the remedy.
        :raises BudgetExceeded: if a budget has no room for the next attempt.
        :raises TooExpensive: if the request's own ceiling has none.
        """
        caller = current_caller() if on_chunk is None else None
        if caller is None:
            self._generator.ready()
        elif not self._generator.awaits:
            caller.run(self._generator.ready_async)
        sleep = _sleeping(caller) if caller is not None else tenacity.nap.sleep
        tokens = self._bound(messages)
        for attempt in tenacity.Retrying(**self._patience(), sleep=sleep):
            with attempt, self._breaker().attempt():
                self._count_first(attempt, again)
                return self._attempt(messages, on_chunk, tokens, self._time_s(timeout_s), caller)
        raise AssertionError("the last attempt returns or raises")

    async def reply_async(
        self,
        messages: Sequence[ChatMessage],
        on_chunk: AsyncListener | None = None,
        *,
        timeout_s: float | None = None,
    ) -> ChatReply:
        """Ask the model on the running event loop. A task that is cancelled still settles."""
        await self._generator.ready_async()
        tokens = self._bound(messages)
        async for attempt in tenacity.AsyncRetrying(**self._patience()):
            with attempt, self._breaker().attempt():
                self._count_first(attempt)
                return await self._attempt_async(messages, on_chunk, tokens, self._time_s(timeout_s))
        raise AssertionError("the last attempt returns or raises")

    def _attempt(
        self,
        messages: Sequence[ChatMessage],
        on_chunk: Listener | None,
        tokens: int,
        time_s: float,
        caller: Caller | None,
    ) -> ChatReply:
        heard = _Heard()
        end = time.monotonic() + time_s
        paid = Attempt(self._till, self.settings, self.tier, self.task, tokens, time_s)
        paid.reserve()

        def listen(chunk: StreamingChunk) -> None:
            chunk = heard.take(chunk)
            if time.monotonic() > end:
                raise TimeoutError
            if on_chunk is not None:
                on_chunk(chunk)

        try:
            call = Call(messages, paid.output_tokens, time_s, self._schema())
            if caller is not None:
                result = caller.run(lambda: self._awaited(call, None))
            else:
                with stage("model"):
                    result = self._generator.ask(call, listen if on_chunk else None)
            reply = self._read(result, messages, heard, streamed=on_chunk is not None and self._generator.streams)
        except BaseException as error:
            paid.settle(None, error, begun=bool(heard.text))
            if not isinstance(error, Exception):
                raise
            raise self._explain(error, heard, paid, time_s) from _cause(error)
        paid.settle(reply)
        return reply

    async def _attempt_async(
        self, messages: Sequence[ChatMessage], on_chunk: AsyncListener | None, tokens: int, time_s: float
    ) -> ChatReply:
        heard = _Heard()
        paid = Attempt(self._till, self.settings, self.tier, self.task, tokens, time_s)
        await paid.reserve_async()

        async def listen(chunk: StreamingChunk) -> None:
            chunk = heard.take(chunk)
            if on_chunk is not None:
                await on_chunk(chunk)

        try:
            call = Call(messages, paid.output_tokens, time_s, self._schema())
            result = await self._awaited(call, listen if on_chunk else None)
            reply = self._read(result, messages, heard, streamed=on_chunk is not None and self._generator.streams)
        except BaseException as error:
            await paid.settle_async(None, error, begun=bool(heard.text))
            if not isinstance(error, Exception):
                raise
            raise self._explain(error, heard, paid, time_s) from _cause(error)
        await paid.settle_async(reply)
        return reply

    async def _awaited(self, call: Call, listen: AsyncListener | None) -> Mapping[str, Any]:
        async with asyncio.timeout(call.time_s):
            with stage("model"):
                return await self._generator.ask_async(call, listen)

    def probe(self) -> str:
        """Whether the endpoint answers and knows the model; nothing is generated, nothing is billed.

        :raises GenerationError: if it can't be reached or refuses the key.
        """
        return self._generator.probe()

    def most_prompt_tokens(self, messages: Sequence[ChatMessage], margin: float) -> int:
        """Tokens of these messages that an attempt is charged for at most.

        :param margin: share by which others count more than the shipped tokenizer, for where there is no till to tell.
        """
        if self._till is None:
            texts = [message.text or "" for message in messages]
            return prompt_bound(texts, self.tokens.count(texts), 0.0 if self.tokens.own else margin)
        return self._till.ledger.learned(self.settings.name, self.task).foreseen(self._bound(messages))

    def may_ask_again(self) -> bool:
        """For callers who repeat an attempt themselves: take a retry from the endpoint's budget, if it has one."""
        return budget_of(self.settings).again()

    @property
    def _place(self) -> str:
        return place_of(self.settings)

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
        if self._generator.takes_schemas and (schema := self._schema()) is not None:
            texts.append(schema.text)  # it is on the wire once more, and endpoints bill it
        return self._most(texts) if self._till is not None else sum(self.tokens.count(texts))

    def _most(self, texts: Sequence[str]) -> int:
        assert self._till is not None
        return self._till.bound(texts, self.tokens.count if self.tokens.own else None)

    def _schema(self) -> AnswerSchema | None:
        request = current_request()
        return request.response_schema if request is not None and self.task == "answer" else None

    def _read(
        self, result: Mapping[str, Any], messages: Sequence[ChatMessage], heard: _Heard, *, streamed: bool
    ) -> ChatReply:
        replies: list[ChatMessage] = result.get("replies") or []
        if not replies:
            raise GenerationError("answered without a choice", where=self._place, remedy="Try again")
        reply = replies[0]
        finish = _finish(reply.meta.get("finish_reason"))
        # one that says nothing of it at all is believed
        if streamed and finish is None and "finish_reason" in reply.meta:
            raise BrokeOff
        text = written(reply.text)
        usage = read_usage(reply.meta.get("usage")) or self._estimate(messages, text or heard.text)
        name = str(reply.meta.get("model") or self.settings.name)
        return ChatReply(text, name, usage, finish, _mean_logprob(reply.meta.get("logprobs")))

    def _estimate(self, messages: Sequence[ChatMessage], output: str) -> TokenUsage:
        """Tokens where the endpoint says nothing: as many as it may have counted."""
        if self._till is not None:
            return TokenUsage(fresh=self._bound(messages), output=self._most([output]), estimated=True)
        counts = self.tokens.count([*(message.text or "" for message in messages), output])
        return TokenUsage(fresh=sum(counts[:-1]), output=counts[-1], estimated=True)

    def _explain(self, error: Exception, heard: _Heard, paid: Attempt, time_s: float) -> GenerationError:
        if isinstance(error, GenerationError):
            return error
        problem, remedy = self._generator.say(error)
        # one asker's short deadlines must not let the endpoint rest for all
        hurried = ran_out_of_time(error) and time_s < min(self.settings.timeout_s, _PATIENT_S)
        if heard.text or isinstance(error, BrokeOff):
            return CutReply(
                f"{problem}, in the middle of the answer" if not isinstance(error, BrokeOff) else problem,
                where=self._place,
                remedy=remedy,
                usage=paid.usage,
                hurried=hurried,
            )
        if hurried:
            return GenerationLate(problem, where=self._place, remedy="Allow for more time")
        wait_s = retry_after_s(error)
        told_s = wait_s if wait_s is not None and math.isfinite(wait_s) else None
        return GenerationError(problem, where=self._place, remedy=remedy, retry_after_s=told_s)


def _sleeping(caller: Caller) -> Callable[[float], None]:
    """Pauses that end with the caller."""
    return lambda pause_s: caller.run(lambda: asyncio.sleep(pause_s))


def generator_of(model: ModelSettings) -> ChatGenerator:
    """Who asks it.

    :raises SettingsError: if the settings name a class that is not there, or not fit.
    """
    return ForeignGenerator(model, model.generator) if model.generator is not None else OpenAIGenerator(model)


def place_of(model: ModelSettings) -> str:
    """Its endpoint and name, for errors."""
    return foreign_place(model, model.generator) if model.generator is not None else openai_place(model)


def budget_of(model: ModelSettings) -> RetryBudget:
    """The budget of retries that all who ask its endpoint in this process share."""
    return retry_budget_of(place_of(model), model.retry_share, model.retry_least)


def _cause(error: Exception) -> BaseException | None:
    return error.__cause__ if isinstance(error, GenerationError) else error


def _finish(told: Any) -> str | None:
    """Why the answer ended; in one word where that is its limit."""
    if told is None:
        return None
    word = str(getattr(told, "value", told))
    return "length" if word.lower() in _AT_THE_LIMIT else word


def _mean_logprob(told: Any) -> float | None:
    tokens = told.get("content") if isinstance(told, Mapping) else None
    known = [
        float(one["logprob"]) for one in tokens or () if isinstance(one, Mapping) and one.get("logprob") is not None
    ]
    return sum(known) / len(known) if known else None
