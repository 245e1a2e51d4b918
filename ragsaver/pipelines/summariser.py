"""Sections are summarised by a language model of the settings, over the same client as answers.

Replies are streamed, so that an attempt ends when its time is over however slowly they drip, and so that what came of
one that broke off is known and billed.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from haystack.dataclasses import ChatMessage, StreamingChunk

from ragsaver.components.attempts import told_not_again
from ragsaver.components.chat import ChatTier
from ragsaver.components.chat_reply import CutReply
from ragsaver.components.endpoint_errors import retry_after_s, status_of
from ragsaver.errors import BudgetExceeded, EndpointResting, FuseBlown, GenerationError, SettingsError, UnknownPrice
from ragsaver.ingestion.asking import Reply, Tokens
from ragsaver.settings import Settings
from ragsaver.spend.receipt import open_receipt
from ragsaver.spend.till import Till
from ragsaver.spend.usage import TokenUsage

# What no other attempt mends: the request, the key, the model's name.
_HOPELESS = frozenset({400, 401, 403, 404, 413, 422})


class ChatSummariser:
    """One of `generation.models`; it answers no more than `outline.summary_max_tokens`.

    :param count_tokens: of each of some texts, where the endpoint does not tell.
    :param till: where attempts are paid for; nobody is billed if None.
    :raises SettingsError: if there is no model of that name.
    """

    def __init__(
        self, settings: Settings, count_tokens: Callable[[Sequence[str]], list[int]], till: Till | None = None
    ) -> None:
        wanted = settings.outline.summary_model
        model = next((one for one in settings.generation.models if one.name == wanted), None)
        if model is None:
            raise SettingsError(
                f"`outline.summary_model` ({wanted}) is none of `generation.models`",
                remedy="Write it there, with its endpoint",
            )
        limits = {"max_output_tokens": settings.outline.summary_max_tokens, "max_retries": 0}
        self._tier = ChatTier(model.model_copy(update=limits), count_tokens, till, tier="summaries", task="summary")
        self._timeout_s = model.timeout_s
        self._charged = till is not None
        self._margin = settings.spend.prompt_margin
        # Who asks makes all attempts at a section one after the other, in one thread.
        self._granted = threading.local()

    def worst(self, instructions: str, data: str) -> Tokens:
        """The most that one attempt is charged for: what would be kept back for it."""
        prompt = self._tier.most_prompt_tokens(_messages(instructions, data), self._margin)
        return Tokens(input=prompt, output=self._tier.settings.max_output_tokens)

    def ask(self, instructions: str, data: str, timeout_s: float) -> Reply:
        """One attempt; where there is a till, with the tokens and the money that it was charged, failed or not."""
        with open_receipt() as receipt:
            reply = self._attempt(instructions, data, timeout_s)
        if not self._charged:
            return reply
        tokens = Tokens(receipt.input_tokens, receipt.cached_input_tokens, receipt.output_tokens)
        return replace(reply, tokens=tokens, cost_usd=receipt.close().cost_usd)

    def _attempt(self, instructions: str, data: str, timeout_s: float) -> Reply:
        limit_s = min(timeout_s, self._timeout_s)

        def listen(chunk: StreamingChunk) -> None:
            """Streamed, so that the attempt ends in time however slowly the reply drips."""

        messages = _messages(instructions, data)
        again = getattr(self._granted, "data", None) == data
        self._granted.data = None
        try:
            reply = self._tier.reply(messages, listen, timeout_s=limit_s, again=again)
        except CutReply as error:
            return self._failed(data, Reply("", _tokens(error.usage), problem=error.problem))
        except (BudgetExceeded, FuseBlown, UnknownPrice) as error:
            return Reply("", problem=str(error), again=False, asked=False)
        except GenerationError as error:
            status = status_of(error.__cause__)
            wait_s = retry_after_s(error.__cause__)
            failed = Reply("", problem=error.problem, again=status not in _HOPELESS, wait_s=wait_s)
            # who rests was not reached: the next attempt is the first still
            return failed if isinstance(error, EndpointResting) else self._failed(data, failed)
        told = Reply(reply.text, _tokens(reply.usage), complete=reply.finish_reason != "length")
        return told if told.text else self._failed(data, told)

    def _failed(self, data: str, reply: Reply) -> Reply:
        """What is told of an attempt that failed: another one takes a retry from the endpoint's budget."""
        if not reply.again:
            return reply
        if self._tier.may_ask_again():
            self._granted.data = data
            return reply
        return replace(reply, problem=told_not_again(reply.problem or "gave an empty answer"), again=False)


def _messages(instructions: str, data: str) -> list[ChatMessage]:
    return [ChatMessage.from_system(instructions), ChatMessage.from_user(data)]


def _tokens(usage: TokenUsage) -> Tokens:
    return Tokens(usage.fresh + usage.cache_write, usage.cache_read, usage.answered)
