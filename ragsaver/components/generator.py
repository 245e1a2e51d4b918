"""Who answers: the free tier when there is no model or it is very sure, else the cheapest model that will do."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from haystack import Document, component
from haystack.dataclasses import ChatMessage, StreamingChunk
from haystack.dataclasses.streaming_chunk import StreamingCallbackT
from numpy.typing import NDArray

from ragsaver.components.answer_check import Failure, Grounds, check
from ragsaver.components.answer_length import most_tokens
from ragsaver.components.answer_links import LinkFilter, in_front_of_the_model
from ragsaver.components.cascade import (
    FREE,
    Attempt,
    Course,
    Finished,
    Foreseen,
    Outcome,
    Policy,
    Steps,
    cascade,
    start_at,
)
from ragsaver.components.chat import ChatTier, place_of
from ragsaver.components.chat_reply import CUT_BY, ChatReply
from ragsaver.components.citations import CitationReader, resolved_marks
from ragsaver.components.evidence import current_evidence
from ragsaver.components.extractive import NO_MODEL, Extract, comes_first, extract, free_choice
from ragsaver.components.fitting import Fitting, wanted_schema, with_schema
from ragsaver.components.prompt_builder import ABSTENTION
from ragsaver.components.request import current_caller, current_pace, current_request, running, stage
from ragsaver.components.resources import Bound, Resources
from ragsaver.components.route_features import found_signs, question_shape
from ragsaver.components.router import Cheapest, Question, Router, open_router
from ragsaver.components.rungs import rungs_of
from ragsaver.components.slots import Slots, slots_of
from ragsaver.components.telling import Telling, refused
from ragsaver.components.token_counts import prompt_tokens
from ragsaver.deadline import time_left_s
from ragsaver.errors import GenerationError, RagSaverError, Unsupported
from ragsaver.settings import FREE_TIER
from ragsaver.spend.pacing import Service, refuse_without_model
from ragsaver.spend.receipt import current_receipt

ANSWER_FORMATS = ("text", "json")
# Confidence of the free tier from which on a model that finds nothing is not believed: by benchmarks/answer_check.
DOUBT_ABSTENTION_FROM = 0.8


@dataclass(slots=True)
class _Asking:
    """One question on its way through the tiers."""

    found: Extract
    free: str | None
    given: list[str]
    query: str = ""
    documents: Sequence[Document] = ()
    fitting: Fitting | None = None
    steps: Steps | None = None
    spent_s: float = 0.0


@component
class AnswerGenerator(Bound):
    """Answer from the packed passages by the cheapest tier that will do.

    The reply's `meta` says `tier`, `route_reason`, `doubt` where the answer failed its check and no better one came,
    `cut` where it is not whole (`length`, `content_filter`),
    for the free tier `quotes` (passage, words) or `abstained` with a `reason`, and `json` where the request has a
    schema: the answer is then JSON that fits, or the abstention. A reply that does not fit is mended where that is
    free, else its model is asked once more, else it failed.

    :param answer_format: `text`, or `json` if the prompt asks for one JSON value.
    :raises ValueError: if it is neither.
    """

    def __init__(self, answer_format: str = "text") -> None:
        if answer_format not in ANSWER_FORMATS:
            raise ValueError(f"answer_format must be one of {', '.join(ANSWER_FORMATS)}, got {answer_format}")
        self.answer_format = answer_format
        self._tiers: list[ChatTier] = []
        self._slots: list[Slots] = []
        self._router: Router = Cheapest()

    def bind(self, resources: Resources) -> None:
        """Take the settings, the tokenizer and the router.

        :raises SettingsError: if the router's file is none, or a model's generator is not there or not fit.
        """
        Bound.bind(self, resources)
        wishes = resources.settings.generation
        count = resources.encoder.count_tokens
        self._tiers = [
            ChatTier(model, count, resources.till, tier=name)
            for model, name in zip(wishes.models, wishes.tier_names, strict=True)
        ]
        self._slots = [slots_of(place_of(model), model.concurrency) for model in wishes.models]
        self._router = open_router(wishes, resources.encoder)

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
        :raises GenerationError: if no model answered.
        """
        messages = with_schema(messages)
        asking = self._route(query, documents, messages)
        with stage("generate"):
            if asking.steps is None:
                return {"replies": [self._extractive(asking, asking.free or NO_MODEL, messages)]}
            try:
                attempt = next(asking.steps)
                while True:
                    attempt = asking.steps.send(self._ask(asking, attempt, messages, streaming_callback))
            except StopIteration as done:
                finished = self._fitting(asking, done.value)
            if streaming_callback is not None and (chunk := self._held(asking, finished)):
                streaming_callback(chunk)
        return {"replies": [self._said(asking, finished, messages)]}

    @component.output_types(replies=list[ChatMessage])
    async def run_async(
        self,
        query: str,
        documents: list[Document],
        messages: list[ChatMessage],
        streaming_callback: StreamingCallbackT | None = None,
    ) -> dict[str, list[ChatMessage]]:
        """Answer, on the running event loop."""
        messages = with_schema(messages)
        asking = self._route(query, documents, messages)
        with stage("generate"):
            if asking.steps is None:
                return {"replies": [self._extractive(asking, asking.free or NO_MODEL, messages)]}
            try:
                attempt = next(asking.steps)
                while True:
                    attempt = asking.steps.send(await self._ask_async(asking, attempt, messages, streaming_callback))
            except StopIteration as done:
                finished = self._fitting(asking, done.value)
            if streaming_callback is not None and (chunk := self._held(asking, finished)):
                await streaming_callback(chunk)  # type: ignore[misc]
        return {"replies": [self._said(asking, finished, messages)]}

    def foresee(self, query: str, documents: Sequence[Document], messages: Sequence[ChatMessage]) -> Foreseen:
        """What `run` would do; no model is asked.

        :raises GenerationError: if the prompt fits into no model.
        :raises BudgetExceeded: if budgets leave nothing for it.
        """
        asking = self._begun(query, documents)
        course = self._course(asking, query, documents, with_schema([*messages])) if self._tiers and documents else None
        answers_free = asking.found.text is not None and asking.fitting is None
        return Foreseen(asking.free, answers_free, self._shortens(asking), course)

    def _route(self, query: str, documents: Sequence[Document], messages: Sequence[ChatMessage]) -> _Asking:
        asking = self._begun(query, documents)
        if asking.free is None:
            asking.steps = self._steps(asking, query, documents, messages)
        return asking

    def _begun(self, query: str, documents: Sequence[Document]) -> _Asking:
        if not self._tiers and self.resources.settings.generation.models:
            self.bind(self.resources)
        wishes = self.resources.settings.generation
        schema = wanted_schema()
        before = len(current_receipt().whole_passage_tokens)
        found = extract(query, documents, wishes.extractive_min_confidence, before)
        if schema is not None and found.text is not None and not wishes.models:
            raise Unsupported(
                "the free tier can't fill a JSON schema",
                where="response_schema",
                remedy="Add a language model under `generation.models`",
            )
        free = free_choice(
            found,
            passages=len(documents),
            models=len(wishes.models),
            extractive_first=comes_first(self.resources.settings) and schema is None,
            sure_from=wishes.extractive_sure_confidence,
            pace=current_pace(),
        )
        if free is not None and wishes.models and documents and schema is not None:
            # the pace leaves the free tier alone, whose answer is no JSON
            refuse_without_model(current_pace())
        asking = _Asking(found, free, in_front_of_the_model(query, documents), query, documents)
        if schema is not None:
            asking.fitting = Fitting(schema, self._links(asking))
        return asking

    def _course(
        self, asking: _Asking, query: str, documents: Sequence[Document], messages: Sequence[ChatMessage]
    ) -> Course | None:
        wishes, request, found = self.resources.settings.generation, current_request(), asking.found
        pace = current_pace()
        rungs = rungs_of(self._tiers, [message.text or "" for message in messages], pace)
        with stage("route"):
            verdict = self._router.judge(
                Question(
                    lambda: question_shape(query),
                    lambda: found_signs(found.confidence, query, documents, len(request.history) if request else 0),
                    lambda: self._vector(query),
                    request.quality if request else "balanced",
                    pace.strong,
                )
            )
        start = start_at(verdict.place, rungs)
        if start is None and pace.service >= Service.SMALL and found.text is not None and asking.fitting is None:
            asking.free = f"{rungs[0].name} was passed over: {rungs[0].skipped}; {pace.why}"
            return None
        if start is None:
            raise GenerationError(
                f"the prompt fits into no model: {rungs[-1].skipped}",
                where=", ".join(rung.name for rung in rungs),
                remedy="Lower `context.budget_tokens`, or add a model with a larger window",
            )
        policy = Policy(
            wishes.max_escalations if pace.escalates else 0,
            wishes.fallback,
            wishes.stream_unchecked,
            free_answers=found.text is not None and asking.fitting is None,
            hold=asking.fitting is not None,
            free_for_want=self.resources.settings.spend.pacing.enabled,
        )
        place, passed_over = start
        reasons = [verdict.reason, passed_over, f"fewer go to dearer models: {pace.why}" if pace.strong < 1 else ""]
        reason = "; ".join(one for one in reasons if one)
        return Course(rungs, place, reason, policy)

    def _steps(
        self, asking: _Asking, query: str, documents: Sequence[Document], messages: Sequence[ChatMessage]
    ) -> Steps | None:
        course = self._course(asking, query, documents, messages)
        if course is None:
            return None
        grounds = Grounds(query, documents, asking.found.confidence)

        def speaks_against(reply: ChatReply) -> Failure | None:
            return check(
                reply.text,
                grounds,
                sure_from=DOUBT_ABSTENTION_FROM,
                as_json=self.answer_format == "json",
                schema=asking.fitting.schema if asking.fitting else None,
                cut=reply.finish_reason == "length",
                logprob=reply.logprob,
                min_logprob=self.resources.settings.generation.min_logprob,
            )

        def time_for_more() -> bool:
            left_s = time_left_s()
            return left_s is None or left_s > asking.spent_s

        return cascade(course.rungs, course.start, course.reason, course.policy, speaks_against, time_for_more)

    def _vector(self, query: str) -> NDArray[np.float32]:
        """The question's embedding: that of retrieval, if it made one."""
        with stage("embed_query"):
            return self.resources.embed_question(query)

    def _ask(
        self, asking: _Asking, attempt: Attempt, messages: Sequence[ChatMessage], callback: StreamingCallbackT | None
    ) -> Outcome:
        tier, telling = self._begin(asking, attempt, callback)
        try:
            slots, caller = self._slots[attempt.place], current_caller() if callback is None else None
            with slots.slot(_left_s(), caller), self._within(asking, tier):
                reply = tier.reply(messages, telling if attempt.live and callback else None)
                if asking.fitting and (again := asking.fitting.once_more(tier, reply, messages)):
                    reply = tier.reply(again)
            if callback and (rest := telling.rest()):
                callback(rest)
            return asking.fitting.mended(reply) if asking.fitting else reply
        except (RagSaverError, TimeoutError) as error:
            return refused(error, tier.settings.name, telling)
        finally:
            asking.spent_s = time.monotonic() - telling.began

    async def _ask_async(
        self, asking: _Asking, attempt: Attempt, messages: Sequence[ChatMessage], callback: StreamingCallbackT | None
    ) -> Outcome:
        tier, telling = self._begin(asking, attempt, callback)
        try:
            async with self._slots[attempt.place].slot_async(_left_s()):
                with self._within(asking, tier):
                    reply = await tier.reply_async(messages, telling.hear if attempt.live and callback else None)
                    if asking.fitting and (again := asking.fitting.once_more(tier, reply, messages)):
                        reply = await tier.reply_async(again)
            if callback and (rest := telling.rest()):
                await callback(rest)  # type: ignore[misc]
            return asking.fitting.mended(reply) if asking.fitting else reply
        except (RagSaverError, TimeoutError) as error:
            return refused(error, tier.settings.name, telling)
        finally:
            asking.spent_s = time.monotonic() - telling.began

    def _begin(
        self, asking: _Asking, attempt: Attempt, callback: StreamingCallbackT | None
    ) -> tuple[ChatTier, Telling]:
        tier = self._tiers[attempt.place]
        current_receipt().add("route", f"{tier.tier}: {tier.settings.name}", 1, "calls", reason=attempt.why)
        citations = None if self._as_json(asking) else CitationReader(len(asking.documents))
        return tier, Telling(callback, self._links(asking), citations)

    @contextmanager
    def _within(self, asking: _Asking, tier: ChatTier) -> Iterator[None]:
        """Bound an answer that is short by its question's form; what the asker wants shorter still stays so."""
        request, limit = current_request(), tier.settings.max_output_tokens
        if request is None or not self._shortens(asking):
            yield
            return
        most = min(request.max_output_tokens or limit, most_tokens(request.asked or asking.query, limit))
        with running(replace(request, max_output_tokens=most)):
            yield

    def _shortens(self, asking: _Asking) -> bool:
        return self.resources.settings.generation.short_answers and not self._as_json(asking)

    def _as_json(self, asking: _Asking) -> bool:
        return self.answer_format == "json" or asking.fitting is not None

    def _fitting(self, asking: _Asking, finished: Finished) -> Finished:
        """The answer, if it fits the schema that was asked for.

        :raises GenerationError: if it does not.
        """
        if asking.fitting is None or finished.reply is None:
            return finished
        asking.fitting.require(finished.reply, self._tiers[finished.place].settings.name)
        if asking.fitting.unlinked and finished.doubt is None:
            return replace(finished, doubt="an address that was not in the passages was removed")
        return finished

    def _held(self, asking: _Asking, finished: Finished) -> StreamingChunk | None:
        """A model's answer that nobody has seen yet, in one piece."""
        if finished.streamed or finished.reply is None:
            return None
        said = finished.reply.text
        text = said if self._as_json(asking) else resolved_marks(said, len(asking.documents))
        return StreamingChunk(content=text if asking.fitting else self._links(asking).clean(text))

    def _links(self, asking: _Asking) -> LinkFilter:
        return LinkFilter(self.resources.settings.generation.links, asking.given)

    def _said(self, asking: _Asking, finished: Finished, messages: Sequence[ChatMessage]) -> ChatMessage:
        cut = finished.reply.cut if finished.reply is not None else None
        doubt = finished.doubt or (CUT_BY[cut] if cut else None)
        if (doubt is not None or finished.lowered) and (evidence := current_evidence()):
            evidence.spoil("a better answer may come another time")
        if finished.place == FREE or finished.reply is None:
            reply = self._extractive(asking, finished.reason, messages)
            if finished.for_want:
                reply.meta["service"] = Service.EXTRACTIVE.told
            return reply
        tier = self._tiers[finished.place].tier
        meta: dict[str, Any] = {"tier": tier, "route_reason": finished.reason, "model": finished.reply.model}
        if asking.fitting is not None:
            meta["json"] = True
        if doubt is not None:
            meta["doubt"] = doubt
        if cut is not None:
            meta["cut"] = cut
        return ChatMessage.from_assistant(finished.reply.text, meta=meta)

    def _extractive(self, asking: _Asking, reason: str, messages: Sequence[ChatMessage]) -> ChatMessage:
        found = asking.found
        count, receipt = self.resources.encoder.count_tokens, current_receipt()
        receipt.prompt_tokens = prompt_tokens(count, [one.text or "" for one in messages], asking.documents)
        receipt.answer_tokens = count([found.text or ABSTENTION])[0]
        receipt.add("generate", "extractive tier", 1, "answers", reason=reason)
        meta: dict[str, Any] = {"tier": FREE_TIER, "route_reason": reason}
        if found.text is None:
            pace = current_pace()
            pressed = f"; no model was asked: {pace.why}" if pace.service >= Service.EXTRACTIVE else ""
            meta.update(abstained=True, reason=found.reason + pressed)
            return ChatMessage.from_assistant(ABSTENTION, meta=meta)
        meta["quotes"] = [(found.passage, found.text)]
        return ChatMessage.from_assistant(found.text, meta=meta)


def _left_s() -> float | None:
    """Seconds that a call may wait; None if nobody counts them."""
    left_s = time_left_s()
    return None if left_s is None else max(left_s, 0.0)
