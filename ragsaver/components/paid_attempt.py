"""One attempt at a model's endpoint, from the lease to the charge."""

import asyncio
from dataclasses import replace

from ragsaver.components.account import current_account
from ragsaver.components.attempts import outcome_of
from ragsaver.components.chat_reply import ChatReply
from ragsaver.components.request import current_request
from ragsaver.components.to_the_end import to_the_end
from ragsaver.settings import ModelSettings
from ragsaver.spend.ledger import DONE, NOTHING, UNKNOWN, Lease
from ragsaver.spend.till import Till
from ragsaver.spend.usage import TokenUsage


class Attempt:
    """Reserved before the endpoint is asked, settled when it is over.

    :param till: None where nobody is billed.
    :param prompt_tokens: that the prompt has at most.
    :param time_s: after which it is over.
    :ivar output_tokens: that the endpoint may answer.
    :ivar usage: what it is charged, once it is settled.
    """

    def __init__(
        self, till: Till | None, model: ModelSettings, tier: str, task: str, prompt_tokens: int, time_s: float
    ) -> None:
        self._till = till
        self._model = model
        self._tier, self._task = tier, task
        self._prompt_tokens = prompt_tokens
        self._time_s = time_s
        self._lease: Lease | None = None
        request = current_request()
        wished = request.max_output_tokens if request is not None else None
        self.output_tokens = min(model.max_output_tokens, wished or model.max_output_tokens)
        self.usage = TokenUsage(fresh=prompt_tokens, output=self.output_tokens, estimated=True)

    def reserve(self) -> None:
        """Keep its money back.

        :raises BudgetExceeded: if a budget has no room for it.
        """
        if self._till is None:
            return
        self._lease = self._till.reserve(
            current_account(self._till),
            tier=self._tier,
            model=self._model.name,
            task=self._task,
            prompt_tokens=self._prompt_tokens,
            most=self.output_tokens,
            lasts_s=self._time_s,
        )
        self.output_tokens = self._lease.hold.output_tokens

    async def reserve_async(self) -> None:
        """The same beside the event loop; where nobody wants it any more the money is given back."""
        if self._till is None:
            return
        _, cancelled = await to_the_end(self.reserve)
        if cancelled:
            await to_the_end(self._give_back)
            raise asyncio.CancelledError

    def settle(self, reply: ChatReply | None, error: BaseException | None = None, *, begun: bool = False) -> None:
        """Charge it.

        :param reply: None if it failed.
        :param begun: whether some of the answer came before it did: then no error says that it cost nothing.
        """
        if self._till is None or self._lease is None:
            self.usage = reply.usage if reply else self.usage
            return
        if reply is not None:
            cut = reply.finish_reason == "length"
            charge = self._till.settle(self._lease, DONE, _within(self._lease, reply.usage), cut=cut)
        else:
            outcome = outcome_of(error) if error is not None else NOTHING
            charge = self._till.settle(self._lease, UNKNOWN if begun else outcome)
        self.usage = charge.usage

    async def settle_async(
        self, reply: ChatReply | None, error: BaseException | None = None, *, begun: bool = False
    ) -> None:
        """The same beside the event loop, to its end also where the task is cancelled."""
        if self._till is None:
            self.settle(reply, error, begun=begun)
            return
        _, cancelled = await to_the_end(lambda: self.settle(reply, error, begun=begun))
        if cancelled:
            raise asyncio.CancelledError

    def _give_back(self) -> None:
        self.settle(None)


def _within(lease: Lease, usage: TokenUsage) -> TokenUsage:
    """What was counted here is an upper bound, and so is what the endpoint was told: the lesser one holds."""
    return replace(usage, output=min(usage.output, lease.hold.output_tokens)) if usage.estimated else usage
