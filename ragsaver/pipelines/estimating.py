"""What would an answer cost? Evidence is found and packed, the prompt is built and counted; no model is asked.

The high end is what one request may be charged at most: each tier on the dearest way through them, each attempt at it
as dear as may be, an answer that has to be mended once, and what is paid for beside the answer's calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from haystack import Document, Pipeline
from haystack.core.errors import PipelineRuntimeError
from haystack.dataclasses import ChatMessage
from pydantic import BaseModel, ConfigDict

from ragsaver.components.account import account_of
from ragsaver.components.answer_length import most_tokens
from ragsaver.components.cascade import Foreseen, dearest_way
from ragsaver.components.fitting import most_added, most_read, with_schema
from ragsaver.components.forecast import Forecast
from ragsaver.components.generator import AnswerGenerator
from ragsaver.components.packer import ContextPacker
from ragsaver.components.request import Request
from ragsaver.components.resources import Resources
from ragsaver.components.sentence_match import READ_NOW, SPECIAL_TOKENS
from ragsaver.components.token_counts import TierTokens
from ragsaver.components.worst_case import WorstCase
from ragsaver.errors import BudgetExceeded, PipelineError, RagSaverError
from ragsaver.pipelines.outputs import cause_of
from ragsaver.settings import ModelSettings
from ragsaver.spend.budgets import Account
from ragsaver.spend.fees import REFUSALS
from ragsaver.spend.money import charged, dollars, kept, usd_of_tokens
from ragsaver.spend.pacing import admit
from ragsaver.spend.receipt import ZERO, OpenReceipt, PricedBy, Usd
from ragsaver.spend.usage import TokenUsage

_TASK = "answer"
_MARK_TOKENS = 64  # around a passage in the prompt, and its source


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Refusal(_Frozen):
    """Why it would be refused as things stand: `type`, `problem`, `where` and `remedy` of the problem document."""

    type: str
    status: int
    problem: str
    where: str | None = None
    remedy: str | None = None
    retry_after_s: float | None = None


class TierEstimate(_Frozen):
    """What one model would cost, and by whose price.

    :ivar low_usd: of one short answer.
    :ivar high_usd: of all attempts that may be made at it.
    :ivar attempts: how many, those to mend an answer included.
    :ivar skipped: why it can't be asked this question.
    :ivar refused: why the first attempt would not be made as budgets and the request's ceiling stand.
    """

    tier: str
    model: str
    low_usd: Usd
    high_usd: Usd
    price: str
    attempts: int
    skipped: str | None = None
    refused: Refusal | None = None


class CostEstimate(_Frozen):
    """What an answer would cost, as a range, and why; `tiers` are cheapest first as the settings have them.

    :ivar prompt_tokens: by the shipped tokenizer.
    :ivar beside_usd: the part of the high end that is for embedding, reranking and the conversation.
    :ivar refused: why there would be no answer as things stand; the range is then what it would cost otherwise.
    :ivar prices: the price book; None where no model is configured.
    """

    low_usd: Usd = ZERO
    low_reason: str
    high_usd: Usd = ZERO
    high_reason: str
    prompt_tokens: int = 0
    passages: int = 0
    tiers: tuple[TierEstimate, ...] = ()
    beside_usd: Usd = ZERO
    refused: Refusal | None = None
    prices: PricedBy | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model would be sent, and what is known of the way to an answer.

    :ivar question: as it is looked for.
    :ivar beside_usd: dollars at most for what is paid for beside the answer's calls.
    :ivar foreseen: None where budgets leave nothing for the request, or its question is not embedded, which `refused`
        says.
    :ivar more_tokens: that the prompt may have on top.
    """

    question: str
    request: Request
    messages: Sequence[ChatMessage]
    documents: Sequence[Document]
    forecast: Forecast
    beside_usd: Decimal
    more_tokens: int
    packed_tokens: int
    foreseen: Foreseen | None = None
    refused: RagSaverError | None = None


class PromptPipeline:
    """A pipeline as far as its generator.

    :param pipeline: loaded for this alone: the rest is taken out of it.
    :param resources: what its components work on.
    :ivar sockets: what it can be given, by component.
    :raises PipelineError: if it is answered by another component than RAGSaver's.
    """

    def __init__(self, pipeline: Pipeline, name: str, resources: Resources) -> None:
        generators = {part: made for part, made in pipeline.walk() if isinstance(made, AnswerGenerator)}
        going = set(generators)
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
        self.pipeline = pipeline
        self.sockets = pipeline.inputs()
        self._name = name
        self._resources = resources
        self._generator = next(iter(generators.values()))
        self._packers = [made for _, made in pipeline.walk() if isinstance(made, ContextPacker)]

    def run(
        self,
        asked: tuple[str, str | None],
        inputs: dict[str, Any],
        request: Request,
        receipt: OpenReceipt,
        forecast: Forecast,
    ) -> Prompt:
        """What the generator would be given, and would do.

        :param asked: the question, and what a model made of it, if one did.
        :param receipt: the running one.
        """
        question = asked[1] or asked[0]
        try:
            outputs = self.pipeline.run(inputs, include_outputs_from={part for part, _ in self._given.values()})
        except PipelineRuntimeError as error:
            cause = cause_of(error, self._name)
            if not isinstance(cause, REFUSALS):
                raise
            return Prompt(question, request, (), (), forecast, forecast.most_usd, 0, 0, refused=cause)
        (part, socket), (packer, packed) = self._given["messages"], self._given["documents"]
        messages, documents = outputs[part][socket], outputs[packer][packed]
        foreseen: Foreseen | None = None
        refused: RagSaverError | None = None
        try:
            admit(request.pace, cached=False)
            foreseen = self._generator.foresee(question, documents, messages)
        except BudgetExceeded as error:
            refused = error
        more = forecast.more_tokens
        if forecast.other_passages:
            settings = self._resources.settings
            budgets = [one.budget_tokens or settings.context.budget_tokens for one in self._packers]
            more += max(max(budgets, default=0) - receipt.packed_tokens, 0) + _MARK_TOKENS * settings.retrieval.top_k
        return Prompt(
            question,
            request,
            with_schema([*messages]),
            documents,
            forecast,
            forecast.most_usd + self._read_usd(asked, receipt, forecast),
            more,
            receipt.packed_tokens,
            foreseen,
            refused,
        )

    def _read_usd(self, asked: tuple[str, str | None], receipt: OpenReceipt, forecast: Forecast) -> Decimal:
        """Dollars for embedding the question, and for reading it and its passages by the token."""
        settings, encoder = self._resources.settings, self._resources.encoder
        usd_per_mtok = settings.spend.embedding_per_mtok
        questions = encoder.count_tokens([question for question in asked if question])
        if forecast.other_passages:
            questions.append(most_read(settings.generation.conversation.question_tokens))
        usd = sum((usd_of_tokens(tokens, usd_per_mtok) for tokens in questions), ZERO)
        if any(line.reason == READ_NOW for line in receipt.lines):
            # of what was not kept now as much may not be kept then: of any passage no more than the model takes
            most = len(receipt.whole_passage_tokens) * settings.embedding.max_tokens
            usd += usd_of_tokens(max(questions) + SPECIAL_TOKENS + most, usd_per_mtok)
        return usd


def estimate(prompt: Prompt, resources: Resources) -> CostEstimate:
    """The range: from what the free tier or the cheapest model would take, to what may be charged at most."""
    wishes = resources.settings.generation
    passages, foreseen = len(prompt.documents), prompt.foreseen
    told = None if prompt.refused is None else _refusal(prompt.refused)
    free = foreseen.free if foreseen is not None else str(prompt.refused)
    if foreseen is None or foreseen.course is None:
        reason = free or "no model can be asked"
        return CostEstimate(
            low_reason=reason,
            high_usd=prompt.beside_usd if told is None else ZERO,
            high_reason=reason,
            passages=passages,
            beside_usd=prompt.beside_usd,
            refused=told,
        )
    course = foreseen.course
    skipped = [None if prompt.forecast.other_passages else rung.skipped for rung in course.rungs]
    tiers = tuple(
        _tier(name, model, resources, prompt, why)
        for name, model, why in zip(wishes.tier_names, wishes.models, skipped, strict=True)
    )
    askable = [place for place, why in enumerate(skipped) if why is None]
    starts = askable if prompt.forecast.other_passages else [course.start]
    high = dearest_way(course, [tier.high_usd for tier in tiers], starts) + prompt.beside_usd
    high_reason = "every model that may be asked, as often as it may be, each answer as long as it may be"
    if prompt.forecast.reasons:
        high_reason += f"; {', '.join(prompt.forecast.reasons)}"
    if free is None and not (prompt.request.response_schema is None and _free_for_want(tiers, foreseen, resources)):
        refusals = [tiers[place].refused for place in askable]
        told = refusals[0] if refusals and None not in refusals else None
    most = prompt.request.max_cost
    if most is not None and told is None and high > (ceiling := max(dollars(kept(most)), prompt.beside_usd)):
        high, high_reason = ceiling, f"what the request may cost at most; else {high_reason}"
    if free is not None:
        low, low_reason = ZERO, f"the free tier would answer: {free}"
    else:
        low = min(tiers[place].low_usd for place in askable)
        low_reason = "one short answer of the cheapest model"
    return CostEstimate(
        low_usd=min(low, high),
        low_reason=low_reason,
        high_usd=high,
        high_reason=high_reason,
        prompt_tokens=sum(resources.encoder.count_tokens([message.text or "" for message in prompt.messages])),
        passages=passages,
        tiers=tiers,
        beside_usd=prompt.beside_usd,
        refused=told,
        prices=resources.prices.told(),
    )


def _free_for_want(tiers: Sequence[TierEstimate], foreseen: Foreseen, resources: Resources) -> bool:
    """Whether the free tier would answer where budgets have no room for a model."""
    short = any(tier.refused is not None and tier.refused.type == BudgetExceeded.urn() for tier in tiers)
    return short and foreseen.answers_free and resources.settings.spend.pacing.enabled


def _tier(tier: str, model: ModelSettings, resources: Resources, prompt: Prompt, skipped: str | None) -> TierEstimate:
    request = prompt.request
    price = resources.prices.price(model.name)
    tokens = TierTokens(model, resources.encoder.count_tokens)
    texts = [message.text or "" for message in prompt.messages]
    margin = 0.0 if tokens.own else min(resources.settings.spend.prompt_margin, 1.0)
    counted = sum(tokens.count(texts)) - (prompt.packed_tokens if prompt.forecast.other_passages else 0)
    fewest = max(int(counted * (1 - margin)), 0)
    limit = model.max_output_tokens
    longest = min(limit, request.max_output_tokens or limit)
    if prompt.foreseen is not None and prompt.foreseen.shortens:
        longest = min(longest, most_tokens(request.asked or prompt.question, limit))
    least = min(price.of(TokenUsage(fresh=fewest, output=1)), price.of(TokenUsage(cache_read=fewest, output=1)))
    worst = WorstCase(resources, model, _TASK)
    schema = request.response_schema
    bound = worst.bound(texts if schema is None else [*texts, schema.text]) + prompt.more_tokens
    most, attempts = worst.usd(bound, longest), model.max_retries + 1
    if schema is not None:
        most += worst.usd(bound + most_added(longest), longest)
    return TierEstimate(
        tier=tier,
        model=model.name,
        low_usd=dollars(charged(least)),
        high_usd=attempts * most,
        price=price.origin,
        attempts=attempts if schema is None else 2 * attempts,
        skipped=skipped,
        refused=_refused(resources, _left(prompt), tier, model.name, bound, longest),
    )


def _left(prompt: Prompt) -> Account:
    """The request's account; what it pays for beside the answer's calls is off its ceiling."""
    request, most = prompt.request, prompt.request.max_cost
    return account_of(request if most is None else replace(request, max_cost=max(most - prompt.beside_usd, ZERO)))


def _refused(
    resources: Resources, account: Account, tier: str, model: str, prompt_tokens: int, most: int
) -> Refusal | None:
    """Why the first attempt at a model would not be made."""
    try:
        resources.till.foresee(account, tier=tier, model=model, task=_TASK, prompt_tokens=prompt_tokens, most=most)
    except REFUSALS as error:
        return _refusal(error)
    return None


def _refusal(error: RagSaverError) -> Refusal:
    return Refusal(
        type=error.urn(),
        status=error.status,
        problem=error.problem,
        where=error.where,
        remedy=error.remedy,
        retry_after_s=error.retry_after_s,
    )
