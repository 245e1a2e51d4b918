"""Who answers: the free tier when there is no model or it is very sure, else the smallest model configured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from haystack import Document, component
from haystack.dataclasses import ChatMessage
from haystack.dataclasses.streaming_chunk import StreamingCallbackT

from ragsaver.components.chat import ChatReply, ChatTier
from ragsaver.components.extractive import Extract, extract
from ragsaver.components.prompt_builder import ABSTENTION
from ragsaver.components.request import stage
from ragsaver.components.resources import Bound, Resources
from ragsaver.spend.receipt import current_receipt

NO_MODEL = "no language model is configured: the free tier answers with the documents' own words"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which tier answers, and why: `tier` is `extractive` or `small`."""

    tier: str
    reason: str


def choose_tier(found: Extract, *, passages: int, models: int, extractive_first: bool, sure_from: float) -> Choice:
    """Decide who answers.

    :param found: what the free tier would say.
    :param passages: how many were packed; without any no model is asked.
    :param models: how many language models are configured.
    :param sure_from: confidence from which the free tier's answer is taken although there is a model.
    """
    if models == 0:
        return Choice("extractive", NO_MODEL)
    if passages == 0:
        return Choice("extractive", "there is no passage to answer from: no model was asked")
    if extractive_first and found.text is not None and found.confidence >= sure_from:
        return Choice("extractive", f"{found.reason}, at least {sure_from:.2f}")
    return Choice("small", "the smallest configured model is tried first")


@component
class AnswerGenerator(Bound):
    """Answer from the packed passages by the cheapest tier that will do.

    The reply's `meta` says `tier`, `route_reason`, and for the free tier `quotes` (passage, words) or
    `abstained` with a `reason`.
    """

    def __init__(self) -> None:
        self._chat: ChatTier | None = None

    def bind(self, resources: Resources) -> None:
        """Take the settings and the tokenizer."""
        Bound.bind(self, resources)
        models = resources.settings.generation.models
        self._chat = ChatTier(models[0], resources.encoder.count_tokens, resources.till) if models else None

    @component.output_types(replies=list[ChatMessage])
    def run(
        self,
        query: str,
        documents: list[Document],
        messages: list[ChatMessage],
        streaming_callback: StreamingCallbackT | None = None,
    ) -> dict[str, list[ChatMessage]]:
        """Answer.

        :param query: the question.
        :param documents: the packed passages.
        :param messages: the prompt, for a language model.
        :raises GenerationError: if the model failed.
        """
        found, choice = self._route(query, documents)
        with stage("generate"):
            if choice.tier == "extractive" or self._chat is None:
                return {"replies": [self._extractive(found, choice, messages)]}
            reply = self._chat.reply(messages, streaming_callback)  # type: ignore[arg-type]
        return {"replies": [_said(reply, choice)]}

    @component.output_types(replies=list[ChatMessage])
    async def run_async(
        self,
        query: str,
        documents: list[Document],
        messages: list[ChatMessage],
        streaming_callback: StreamingCallbackT | None = None,
    ) -> dict[str, list[ChatMessage]]:
        """Answer, on the running event loop."""
        found, choice = self._route(query, documents)
        with stage("generate"):
            if choice.tier == "extractive" or self._chat is None:
                return {"replies": [self._extractive(found, choice, messages)]}
            reply = await self._chat.reply_async(messages, streaming_callback)  # type: ignore[arg-type]
        return {"replies": [_said(reply, choice)]}

    def _route(self, query: str, documents: Sequence[Document]) -> tuple[Extract, Choice]:
        wishes = self.resources.settings.generation
        found = extract(query, documents, wishes.extractive_min_confidence)
        return found, choose_tier(
            found,
            passages=len(documents),
            models=len(wishes.models),
            extractive_first=wishes.extractive_first,
            sure_from=wishes.extractive_sure_confidence,
        )

    def _extractive(self, found: Extract, choice: Choice, messages: Sequence[ChatMessage]) -> ChatMessage:
        counts = self.resources.encoder.count_tokens([*(m.text or "" for m in messages), found.text or ABSTENTION])
        receipt = current_receipt()
        receipt.prompt_tokens, receipt.answer_tokens = sum(counts[:-1]), counts[-1]
        receipt.add("generate", "extractive tier", 1, "answers", reason=choice.reason)
        meta: dict[str, Any] = {"tier": "extractive", "route_reason": choice.reason}
        if found.text is None:
            meta.update(abstained=True, reason=found.reason)
            return ChatMessage.from_assistant(ABSTENTION, meta=meta)
        meta["quotes"] = [(found.passage, found.text)]
        return ChatMessage.from_assistant(found.text, meta=meta)


def _said(reply: ChatReply, choice: Choice) -> ChatMessage:
    meta = {"tier": choice.tier, "route_reason": choice.reason, "model": reply.model}
    return ChatMessage.from_assistant(reply.text, meta=meta)
