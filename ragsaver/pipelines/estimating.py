"""What would an answer cost? Evidence is found and packed, the prompt is built and counted; no model is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from haystack import Document, Pipeline
from haystack.dataclasses import ChatMessage
from pydantic import BaseModel, ConfigDict

from ragsaver.components.extractive import comes_first, extract, free_choice
from ragsaver.components.generator import AnswerGenerator
from ragsaver.components.prompt_builder import PromptBuilder
from ragsaver.components.resources import Resources
from ragsaver.components.token_counts import TierTokens
from ragsaver.errors import PipelineError
from ragsaver.settings import ModelSettings
from ragsaver.spend.money import charged, dollars
from ragsaver.spend.receipt import ZERO, Usd
from ragsaver.spend.usage import TokenUsage

_TASK = "answer"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TierEstimate(_Frozen):
    """What one call of a model would cost, and by whose price."""

    tier: str
    model: str
    low_usd: Usd
    high_usd: Usd
    price: str


class CostEstimate(_Frozen):
    """What an answer would cost, as a range, and why; `tiers` are cheapest first as the settings have them.

    :ivar prompt_tokens: by the shipped tokenizer.
    """

    low_usd: Usd = ZERO
    low_reason: str
    high_usd: Usd = ZERO
    high_reason: str
    prompt_tokens: int = 0
    passages: int = 0
    tiers: tuple[TierEstimate, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model would be sent."""

    messages: Sequence[ChatMessage]
    documents: Sequence[Document]


class PromptPipeline:
    """A pipeline as far as its generator.

    :param pipeline: loaded for this alone: the rest is taken out of it.
    :raises PipelineError: if it is answered by another component than RAGSaver's.
    """

    def __init__(self, pipeline: Pipeline, name: str) -> None:
        going = {part for part, instance in pipeline.walk() if isinstance(instance, AnswerGenerator)}
        lines = [(line["sender"], line["receiver"]) for line in pipeline.to_dict()["connections"]]
        self._given = {
            receiver.partition(".")[2]: sender.partition(".")[::2]
            for sender, receiver in lines
            if receiver.partition(".")[0] in going
        }
        if not {"messages", "documents"} <= set(self._given):
            raise PipelineError(
                "what it would cost is not known: its generator is its own", where=name, remedy="Ask another pipeline"
            )
        edges = [(sender.partition(".")[0], receiver.partition(".")[0]) for sender, receiver in lines]
        while after := {receiver for sender, receiver in edges if sender in going} - going:
            going |= after
        for part in going:
            pipeline.remove_component(part)
        for _, made in pipeline.walk():
            if isinstance(made, PromptBuilder):
                made.asks = False
        self.pipeline = pipeline

    def run(self, inputs: dict[str, Any]) -> Prompt:
        """What the generator would be given."""
        outputs = self.pipeline.run(inputs, include_outputs_from={part for part, _ in self._given.values()})
        messages, documents = (self._given[name] for name in ("messages", "documents"))
        return Prompt(outputs[messages[0]][messages[1]], outputs[documents[0]][documents[1]])


def estimate(question: str, prompt: Prompt, resources: Resources, most_tokens: int | None = None) -> CostEstimate:
    """The range: from what the free tier or the cheapest model would take, to every model asked once with answers of
    the greatest length that they may have.

    :param most_tokens: of the answer, where the asker wants fewer than the settings allow.
    """
    wishes = resources.settings.generation
    passages = len(prompt.documents)
    free = free_choice(
        extract(question, prompt.documents, wishes.extractive_min_confidence),
        passages=passages,
        models=len(wishes.models),
        extractive_first=comes_first(resources.settings),
        sure_from=wishes.extractive_sure_confidence,
    )
    if free is not None and not (wishes.models and passages):
        return CostEstimate(low_reason=free, high_reason=free, passages=passages)
    texts = [message.text or "" for message in prompt.messages]
    counted = sum(resources.encoder.count_tokens(texts))
    tiers = tuple(
        _tier(name, model, resources, texts, most_tokens)
        for name, model in zip(wishes.tier_names, wishes.models, strict=True)
    )
    if free is not None:
        low, low_reason = ZERO, f"the free tier would answer: {free}"
    else:
        low, low_reason = min(tier.low_usd for tier in tiers), "one short answer of the cheapest model"
    return CostEstimate(
        low_usd=low,
        low_reason=low_reason,
        high_usd=sum((tier.high_usd for tier in tiers), Decimal(0)),
        high_reason="every model once, each answer as long as it may be",
        prompt_tokens=counted,
        passages=passages,
        tiers=tiers,
    )


def _tier(
    tier: str, model: ModelSettings, resources: Resources, texts: Sequence[str], most: int | None
) -> TierEstimate:
    price = resources.prices.price(model.name)
    tokens = TierTokens(model, resources.encoder.count_tokens)
    bound = resources.till.bound(texts, tokens.count if tokens.own else None)
    margin = 0.0 if tokens.own else min(resources.settings.spend.prompt_margin, 1.0)
    fewest = int(sum(tokens.count(texts)) * (1 - margin))
    longest = min(model.max_output_tokens, most or model.max_output_tokens)
    prompt = int(bound * resources.till.ledger.learned(model.name, _TASK).prompt_factor) + 1
    least = min(price.of(TokenUsage(fresh=fewest, output=1)), price.of(TokenUsage(cache_read=fewest, output=1)))
    return TierEstimate(
        tier=tier,
        model=model.name,
        low_usd=dollars(charged(least)),
        high_usd=dollars(charged(price.worst(prompt, longest))),
        price=price.origin,
    )
