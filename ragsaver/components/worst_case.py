"""What may one attempt at a model be charged at most? As much as would be kept back for it, asked before it is made."""

from collections.abc import Sequence
from decimal import Decimal

from ragsaver.components.resources import Resources
from ragsaver.components.token_counts import TierTokens
from ragsaver.settings import ModelSettings
from ragsaver.spend.money import charged, dollars


class WorstCase:
    """Of one model and task.

    :param task: answers to it are about as long as each other.
    """

    def __init__(self, resources: Resources, model: ModelSettings, task: str) -> None:
        self._resources = resources
        self._model = model.name
        self._task = task
        self._tokens = TierTokens(model, resources.encoder.count_tokens)

    def bound(self, texts: Sequence[str]) -> int:
        """Tokens that a prompt of these texts has at most."""
        return self._resources.till.bound(texts, self._tokens.count if self._tokens.own else None)

    def usd(self, prompt_tokens: int, output_tokens: int) -> Decimal:
        """Dollars that an attempt may be charged.

        :param prompt_tokens: as `bound` tells them.
        """
        learned = self._resources.till.ledger.learned(self._model, self._task)
        price = self._resources.prices.price(self._model)
        return dollars(charged(price.worst(learned.foreseen(prompt_tokens), output_tokens)))
