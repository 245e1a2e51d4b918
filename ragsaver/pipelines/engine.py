"""Ask one pipeline: the question in, the answer with its citations and receipt out.

Inputs are found by name, so a team's pipeline may be of any shape: every free `query` socket gets the
question, and the answer is what a component gives out as `answers`.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from haystack import GeneratedAnswer, Pipeline
from haystack.core.errors import PipelineError as HaystackPipelineError
from haystack.core.errors import PipelineRuntimeError

from ragsaver.components.account import account_of
from ragsaver.components.evidence import Evidence, gathering
from ragsaver.components.explain import explaining
from ragsaver.components.follow_up import leans_back, made_whole
from ragsaver.components.forecast import forecasting
from ragsaver.components.generator import AnswerGenerator
from ragsaver.components.request import Request, running
from ragsaver.components.resources import Resources
from ragsaver.components.rewriting import Rewriting
from ragsaver.deadline import due
from ragsaver.errors import PipelineError, Unsupported, UsageError
from ragsaver.logs.observed import note_contexts
from ragsaver.pipelines.answers import AnswerCache, Turn
from ragsaver.pipelines.direct_run import DirectRun
from ragsaver.pipelines.estimating import Prompt, PromptPipeline
from ragsaver.pipelines.fingerprint import cacheable, fingerprint
from ragsaver.pipelines.fit_to_ask import require_question
from ragsaver.pipelines.loader import load_pipeline
from ragsaver.pipelines.observing import observe_answer, observe_question
from ragsaver.pipelines.outputs import cause_of, found_passage, output_of
from ragsaver.pipelines.places import find_pipeline
from ragsaver.pipelines.result import AskResult, Citation, Route, SearchResult
from ragsaver.pipelines.searching import SearchPipeline
from ragsaver.spend.baseline import settle
from ragsaver.spend.pacing import Service, admit
from ragsaver.spend.receipt import OpenReceipt, open_receipt

_Other = SearchPipeline | PromptPipeline  # that is asked in place of the one that answers


class _Asked(NamedTuple):
    """A question under way."""

    request: Request
    receipt: OpenReceipt
    evidence: Evidence
    inputs: dict[str, dict[str, Any]]
    started: float

    def look_for(self, question: str | None) -> None:
        """Put a question in place of the one that components are to get; None leaves it."""
        for sockets in self.inputs.values() if question else ():
            if "query" in sockets:
                sockets["query"] = question


class QueryEngine:
    """One loaded pipeline, ready for questions from any number of threads or tasks.

    :param resources: what its components work on.
    :param name: the pipeline's name; `query.pipeline` of the settings if None.
    :raises UsageError: if there is no such pipeline.
    :raises PipelineError: if its YAML is wrong.
    """

    def __init__(self, resources: Resources, name: str | None = None) -> None:
        self.resources = resources
        self.name = name or resources.settings.query.pipeline
        self.pipeline = self._load(self.name)
        self._run = DirectRun(self.pipeline)
        self._sockets = self.pipeline.inputs()
        self._search: SearchPipeline | None = None
        self._prompt: PromptPipeline | None = None
        output_of(self.pipeline, "answers", self.name)
        self._knows_schemas = any(isinstance(part, AnswerGenerator) for _, part in self.pipeline.walk())
        self._answers = self._cache_of(self.pipeline)
        by_model = resources.settings.generation.follow_ups == "model"
        self._rewriting = Rewriting(resources) if by_model else None

    def ask(self, question: str, request: Request | None = None, *, explain: bool = False) -> AskResult:
        """Answer a question; a follow-up of the request's history is made whole first.

        :param explain: tell in `debug` what became of each passage.
        :raises UsageError: if it is empty or too long.
        :raises GenerationError: if the language model failed.
        :raises BudgetExceeded: if its budgets leave nothing for it.
        """
        question, request = self._made_whole(question, request)
        request = self._admitted(request)
        if explain:
            with explaining(explain) as explanation, self._asked(question, request) as asked:
                self._rewrite(asked)
                result = self._result(self._run(asked.inputs), asked)
                return result.model_copy(update={"debug": explanation.told()}) if explanation else result
        with self._turn(question, request) as turn:
            if turn is not None:
                started = time.perf_counter()
                turn.wait()
                if turn.found is not None:
                    return self._again(turn, request, started)
            with self._asked(question, request, turn=turn) as asked:
                self._rewrite(asked)
                return self._result(self._run(asked.inputs), asked, turn)

    async def ask_async(self, question: str, request: Request | None = None) -> AskResult:
        """Answer a question on the running event loop."""
        question, request = self._made_whole(question, request)
        request = await self._admitted_async(request)
        with self._turn(question, request) as turn:
            if turn is not None:
                started = time.perf_counter()
                await turn.wait_async()
                if turn.found is not None:
                    return self._again(turn, request, started)
            with self._asked(question, request, turn=turn) as asked:
                await self._rewrite_async(asked)
                return self._result(await self.pipeline.run_async(asked.inputs), asked, turn)

    async def stream(self, question: str, request: Request | None = None) -> AsyncIterator[str | AskResult]:
        """The answer's text as it comes, then the whole result. Leaving early cancels the generation.

        A tier that does not stream gives its text in one piece, and so does a cache.
        """
        question, request = self._made_whole(question, request)
        request = await self._admitted_async(request)
        if request.on_rung:
            request.on_rung(request.pace.service.told)
        with self._turn(question, request) as turn:
            if turn is not None:
                started = time.perf_counter()
                await turn.wait_async()
                if turn.found is not None:
                    for part in self._again(turn, request, started).in_one_piece(request.on_rung):
                        yield part
                    return
            # who leaves this generator leaves that one at once, not when it is collected
            async with aclosing(self._stream(question, request, turn)) as parts:
                async for part in parts:
                    yield part

    async def _stream(self, question: str, request: Request, turn: Turn | None) -> AsyncGenerator[str | AskResult]:
        with self._asked(question, request, turn=turn) as asked:
            await self._rewrite_async(asked)
            handle = self.pipeline.stream(asked.inputs)
            streamed = False
            try:
                async for chunk in handle:
                    if chunk.content:
                        streamed = True
                        yield chunk.content
                result = self._result(handle.result, asked, turn)
                for part in [result] if streamed else result.in_one_piece(request.on_rung):
                    yield part
            finally:
                await handle.aclose()

    def search(
        self, question: str, request: Request | None = None, top_k: int | None = None, *, explain: bool = False
    ) -> SearchResult:
        """Passages for a question, best first; nothing is generated. This pipeline's own, where it reranks.

        :param top_k: how many; `retrieval.top_k` if None.
        :param explain: tell in `debug` what became of each passage, and what it would get of a packed context.
        :raises UsageError: if the question is empty or too long, or `top_k` is out of range.
        """
        question, request = self._made_whole(question, request)
        limit = top_k if top_k is not None else self.resources.settings.retrieval.top_k
        if not 1 <= limit <= 1000:
            raise UsageError(f"top_k must be within 1 to 1000, got {limit}")
        if self._search is None:
            self._search = SearchPipeline(self._load, self.name, self.resources)
        with (
            explaining(explain) as explanation,
            self._asked(question, request, self._search) as asked,
        ):
            found = self._search.run(asked.inputs, limit)
            self.resources.uses.note(str(document.meta.get("document_id", "")) for document in found)
            note_contexts(document.content or "" for document in found)
            result = SearchResult(passages=tuple(map(found_passage, found)), receipt=asked.receipt.close())
            if explanation is None:
                return result
            self._search.pack(question, found)
            return result.model_copy(update={"debug": explanation.told()})

    def prompt(self, question: str, request: Request | None = None) -> Prompt:
        """What a language model would be sent, and what is known of the way to an answer; none is asked, and no receipt
        is kept.

        :raises UsageError: if the question is empty or too long.
        :raises PipelineError: if its generator is not RAGSaver's own.
        """
        if self._prompt is None:
            self._prompt = PromptPipeline(self._load(self.name), self.name, self.resources)
        question, request = self._made_whole(question, request)
        with forecasting() as forecast, self._asked(question, request, self._prompt) as asked:
            self._require_schemas(request)
            asks = self._rewriting is not None and asked.request.asked is not None
            whole = self._rewriting.foreseen(asked.request, forecast) if self._rewriting and asks else None
            asked.look_for(whole)
            return self._prompt.run((question, whole), asked.inputs, asked.request, asked.receipt, forecast)

    def _load(self, name: str) -> Pipeline:
        settings = self.resources.settings
        file = find_pipeline(name, settings.pipelines_dir)
        return load_pipeline(file, self.resources, settings.allow_modules)

    def _made_whole(self, question: str, request: Request | None) -> tuple[str, Request]:
        """The question as it is looked for and cached, and the request, which knows the asker's own words and its
        deadline.

        :raises UsageError: if it is empty or too long.
        """
        self.check(question)
        request = request or Request(self.resources.default_scope)
        if (limit_s := self.resources.settings.query.deadline_s) is not None:
            request = replace(request, deadline=request.by(limit_s))
        if not request.history or self.resources.settings.generation.follow_ups == "none":
            return question, request
        whole = made_whole(question, request.history)
        leans = whole != question or (self._rewriting is not None and leans_back(question))
        return whole, replace(request, asked=question) if leans else request

    def _rewrite(self, asked: _Asked) -> None:
        """Let a model make a follow-up whole, where it is to; for caches what the rules made of it stays its name."""
        if self._rewriting is not None and asked.request.asked is not None:
            asked.look_for(self._rewriting.whole(asked.request))

    async def _rewrite_async(self, asked: _Asked) -> None:
        """The same on the running event loop."""
        if self._rewriting is not None and asked.request.asked is not None:
            asked.look_for(await self._rewriting.whole_async(asked.request))

    def _cache_of(self, pipeline: Pipeline) -> AnswerCache | None:
        if self.resources.settings.cache.answers == "off" or not cacheable(pipeline):
            return None
        file = find_pipeline(self.name, self.resources.settings.pipelines_dir)
        return AnswerCache(self.resources, fingerprint(pipeline, file, self.resources))

    @contextmanager
    def _turn(self, question: str, request: Request) -> Iterator[Turn | None]:
        """The question's turn at the cache of answers; None where there is none."""
        observe_question(question, self.name, request)
        turn = self._answers.turn(question, request) if self._answers else None
        try:
            yield turn
        finally:
            if turn is not None:
                turn.end()

    def _paced(self, request: Request) -> Request:
        """The request as its budgets let it be served."""
        request = replace(request, pipeline=self.name)
        with due(request.deadline):
            return replace(request, pace=self.resources.till.pace(account_of(request)))

    def _admitted(self, request: Request) -> Request:
        """The same, of a question that may be asked.

        :raises BudgetExceeded: if not even a cached answer is given.
        """
        paced = self._paced(request)
        admit(paced.pace, cached=True)
        return paced

    async def _admitted_async(self, request: Request) -> Request:
        """The same beside the event loop, where budgets are read."""
        if self.resources.till.paces:
            return await asyncio.to_thread(self._admitted, request)
        return self._admitted(request)

    @contextmanager
    def _asked(
        self, question: str, request: Request, other: _Other | None = None, turn: Turn | None = None
    ) -> Iterator[_Asked]:
        searched = isinstance(other, SearchPipeline)
        if other is not None:
            kind = "search" if searched else "estimate"
            request = replace(self._paced(request), charged_as=f"{kind}_{uuid.uuid4().hex}")
        else:
            self._require_schemas(request)
            # The cache was asked before: what is not there is refused where nothing else is given.
            admit(request.pace, cached=False)
            self.resources.loops.ask(question, request)
        sockets = other.sockets if other is not None else self._sockets
        inputs = {name: {"query": question} for name, free in sockets.items() if "query" in free}
        try:
            with (
                running(request),
                open_receipt() as receipt,
                self._keeping(request, receipt, other is None),
                gathering(Evidence(self._mark(request))) as evidence,
            ):
                observe_question(question, "search" if searched else self.name, request, receipt)
                if turn is not None and turn.nearby is not None:
                    evidence.embedded(turn.nearby)
                    receipt.take(turn.looked)
                yield _Asked(request, receipt, evidence, inputs, time.perf_counter())
        except (PipelineRuntimeError, HaystackPipelineError) as error:
            raise cause_of(error, self.name) from error

    def _require_schemas(self, request: Request) -> None:
        if request.response_schema is not None and not self._knows_schemas:
            raise Unsupported("its own generator knows no JSON schema", where=self.name, remedy="Ask another pipeline")

    def _mark(self, request: Request) -> str | None:
        """The collection's, before anything of it is read."""
        truth = self.resources.caches.truth
        return truth.mark(request.scope) if truth is not None and request.caching != "off" else None

    @contextmanager
    def _keeping(self, request: Request, receipt: OpenReceipt, asked: bool) -> Iterator[None]:
        """Keep the receipt of what was asked, also where it failed or nobody waited for it. Of what was only looked for
        there is no receipt; what that cost is charged.
        """
        complete = False
        try:
            yield
            complete = True
        finally:
            if asked:
                closed, paid = receipt.close(), receipt.paid
                self.resources.till.keep_receipt(account_of(request), closed, complete=complete, paid=paid)
            else:
                self.resources.till.charge_beside(account_of(request), receipt)

    def check(self, question: str) -> None:
        """Refuse a question that is empty, too long or no text.

        :raises UsageError: saying which.
        """
        require_question(question, self.resources.settings.query.max_question_chars)

    def _result(self, outputs: Mapping[str, Any], asked: _Asked, turn: Turn | None = None) -> AskResult:
        answers: list[GeneratedAnswer] = outputs[output_of(self.pipeline, "answers", self.name)]["answers"]
        if not answers:
            raise PipelineError("gave no answer at all", where=self.name)
        answer = answers[0]
        meta = answer.meta
        settle(asked.receipt, self.resources.settings, self.resources.prices)
        result = AskResult(
            answer=answer.data or None,
            reason=meta.get("reason"),
            cut=meta.get("cut"),
            citations=tuple(Citation(**citation) for citation in meta.get("citations", ())),
            route=Route(
                tier=meta.get("tier", "custom"),
                reason=meta.get("route_reason", "this pipeline's own generator"),
                rung=meta.get("service", asked.request.pace.service.told),
                cache="miss" if turn else None,
            ),
            receipt=asked.receipt.close(),
            latency_ms=_latency(asked.request, asked.started),
            request_id=asked.request.request_id,
        )
        if turn is not None:
            turn.keep(result, asked.receipt, asked.evidence)
        return observe_answer(result)

    def _again(self, turn: Turn, request: Request, started: float) -> AskResult:
        """The answer that was there, on a receipt of its own."""
        kept = turn.found
        assert kept is not None and turn.how != "miss"
        resources = self.resources
        resources.uses.note(kept.versions)
        asked_so = "the same question" if turn.how == "hit" else "a question that asks the same"
        receipt = kept.receipt(asked_so, time.time())
        receipt.take(turn.looked)
        settle(receipt, resources.settings, resources.prices, reused_usd=kept.cost_usd)
        request.stage_ms["cache"] = (time.perf_counter() - started) * 1000
        closed = receipt.close()
        resources.till.keep_receipt(account_of(request), closed, complete=True, paid=receipt.paid)
        result = AskResult(
            answer=kept.answer,
            reason=kept.reason,
            citations=tuple(Citation(**citation) for citation in kept.citations),
            route=Route(
                tier=kept.tier,
                reason=f"cached answer: {kept.route_reason}",
                rung=(Service.CACHED if request.pace.service is Service.CACHED else Service(kept.service)).told,
                cache=turn.how,
            ),
            receipt=closed,
            latency_ms=_latency(request, started),
            request_id=request.request_id,
        )
        return observe_answer(result)


def _latency(request: Request, started: float) -> dict[str, float]:
    spent = {name: round(spent, 3) for name, spent in request.stage_ms.items()}
    return {**spent, "total": round((time.perf_counter() - started) * 1000, 3)}
