"""Ask one pipeline: the question in, the answer with its citations and receipt out.

Inputs are found by name, so a team's pipeline may be of any shape: every free `query` socket gets the
question, and the answer is what a component gives out as `answers`.
"""

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from haystack import Document, GeneratedAnswer, Pipeline
from haystack.core.errors import PipelineError as HaystackPipelineError
from haystack.core.errors import PipelineRuntimeError

from ragsaver.components.account import account_of
from ragsaver.components.explain import explaining
from ragsaver.components.packer import ContextPacker
from ragsaver.components.request import Request, running
from ragsaver.components.resources import Resources
from ragsaver.errors import PipelineError, QuestionTooLong, RagSaverError, UsageError
from ragsaver.pipelines.estimating import Prompt, PromptPipeline
from ragsaver.pipelines.loader import find_pipeline, load_pipeline
from ragsaver.pipelines.result import AskResult, Citation, FoundPassage, Route, SearchResult
from ragsaver.spend.baseline import settle
from ragsaver.spend.pacing import admit
from ragsaver.spend.receipt import OpenReceipt, open_receipt


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
        self._search: Pipeline | None = None
        self._prompt: PromptPipeline | None = None
        _output_of(self.pipeline, "answers", self.name)

    def ask(self, question: str, request: Request | None = None, *, explain: bool = False) -> AskResult:
        """Answer a question.

        :param explain: tell in `debug` what became of each passage.
        :raises UsageError: if it is empty or too long.
        :raises GenerationError: if the language model failed.
        """
        with (
            explaining(explain) as explanation,
            self._asked(question, request) as (running_request, receipt, inputs, started),
        ):
            outputs = self.pipeline.run(inputs)
            result = self._result(outputs, running_request, receipt, started)
        return result.model_copy(update={"debug": explanation.told()}) if explanation else result

    async def ask_async(self, question: str, request: Request | None = None) -> AskResult:
        """Answer a question on the running event loop."""
        with self._asked(question, request) as (running_request, receipt, inputs, started):
            outputs = await self.pipeline.run_async(inputs)
            return self._result(outputs, running_request, receipt, started)

    async def stream(self, question: str, request: Request | None = None) -> AsyncIterator[str | AskResult]:
        """The answer's text as it comes, then the whole result. Leaving early cancels the generation.

        A tier that does not stream gives its text in one piece.
        """
        with self._asked(question, request) as (running_request, receipt, inputs, started):
            handle = self.pipeline.stream(inputs)
            streamed = False
            try:
                async for chunk in handle:
                    if chunk.content:
                        streamed = True
                        yield chunk.content
                result = self._result(handle.result, running_request, receipt, started)
                if result.answer and not streamed:
                    yield result.answer
                yield result
            finally:
                await handle.aclose()

    def search(
        self, question: str, request: Request | None = None, top_k: int | None = None, *, explain: bool = False
    ) -> SearchResult:
        """Passages for a question, best first; nothing is generated.

        :param top_k: how many; `retrieval.top_k` if None.
        :param explain: tell in `debug` what became of each passage, and what it would get of a packed context.
        :raises UsageError: if the question is empty or too long, or `top_k` is out of range.
        """
        limit = top_k if top_k is not None else self.resources.settings.retrieval.top_k
        if not 1 <= limit <= 1000:
            raise UsageError(f"top_k must be within 1 to 1000, got {limit}")
        if self._search is None:
            self._search = self._load("search")
        pipeline = self._search
        with (
            explaining(explain) as explanation,
            self._asked(question, request, pipeline) as (_, receipt, inputs, _started),
        ):
            for name, sockets in pipeline.inputs().items():
                if "top_k" in sockets:
                    inputs.setdefault(name, {})["top_k"] = limit
            outputs = pipeline.run(inputs)
            documents: list[Document] = outputs[_output_of(pipeline, "documents", "search")]["documents"]
            found = documents[:limit]
            self.resources.uses.note(str(document.meta.get("document_id", "")) for document in found)
            result = SearchResult(passages=tuple(_found(document) for document in found), receipt=receipt.close())
            if explanation is None:
                return result
            packer = ContextPacker()
            packer.bind(self.resources)
            packer.run(question, found)
            return result.model_copy(update={"debug": explanation.told()})

    def prompt(self, question: str, request: Request | None = None) -> Prompt:
        """What a language model would be sent; none is asked, and no receipt is kept.

        :raises UsageError: if the question is empty or too long.
        :raises PipelineError: if its generator is not RAGSaver's own.
        """
        if self._prompt is None:
            self._prompt = PromptPipeline(self._load(self.name), self.name)
        with self._asked(question, request, self._prompt.pipeline) as (_, _receipt, inputs, _started):
            return self._prompt.run(inputs)

    def _load(self, name: str) -> Pipeline:
        settings = self.resources.settings
        file = find_pipeline(name, settings.pipelines_dir)
        return load_pipeline(file, self.resources, settings.allow_modules)

    @contextmanager
    def _asked(
        self, question: str, request: Request | None, pipeline: Pipeline | None = None
    ) -> Iterator[tuple[Request, OpenReceipt, dict[str, dict[str, Any]], float]]:
        self.check(question)
        request = replace(request or Request(self.resources.default_scope), pipeline=self.name)
        request = replace(request, pace=self.resources.till.pace(account_of(request)))
        if pipeline is None:
            # A cache of answers was asked before, so that what is not there is refused where nothing else is given.
            admit(request.pace, cached=False)
        sockets = (pipeline or self.pipeline).inputs()
        inputs = {name: {"query": question} for name, free in sockets.items() if "query" in free}
        try:
            with running(request), open_receipt() as receipt, self._keeping(request, receipt, pipeline is None):
                yield request, receipt, inputs, time.perf_counter()
        except (PipelineRuntimeError, HaystackPipelineError) as error:
            raise _cause(error, self.name) from error

    @contextmanager
    def _keeping(self, request: Request, receipt: OpenReceipt, asked: bool) -> Iterator[None]:
        """Keep the receipt of what was asked, also where it failed or nobody waited for it."""
        complete = False
        try:
            yield
            complete = True
        finally:
            if asked:
                self.resources.till.keep_receipt(account_of(request), receipt.close(), complete=complete)

    def check(self, question: str) -> None:
        """Refuse a question that is empty, too long or no text.

        :raises UsageError: saying which.
        """
        limit = self.resources.settings.query.max_question_chars
        if not question.strip():
            raise UsageError("the question is empty", remedy="Write a question in words")
        try:
            question.encode()
        except UnicodeEncodeError:
            raise UsageError("the question is not valid UTF-8", remedy="Send it as UTF-8") from None
        if len(question) > limit:
            raise QuestionTooLong(
                f"the question has {len(question)} characters, {limit} are allowed",
                remedy="Shorten it, or raise `query.max_question_chars`",
            )

    def _result(self, outputs: Mapping[str, Any], request: Request, receipt: OpenReceipt, started: float) -> AskResult:
        answers: list[GeneratedAnswer] = outputs[_output_of(self.pipeline, "answers", self.name)]["answers"]
        if not answers:
            raise PipelineError("gave no answer at all", where=self.name)
        answer = answers[0]
        meta = answer.meta
        settle(receipt, self.resources.settings, self.resources.prices)
        latency = {name: round(spent, 3) for name, spent in request.stage_ms.items()}
        latency["total"] = round((time.perf_counter() - started) * 1000, 3)
        return AskResult(
            answer=answer.data or None,
            reason=meta.get("reason"),
            citations=tuple(Citation(**citation) for citation in meta.get("citations", ())),
            route=Route(
                tier=meta.get("tier", "custom"),
                reason=meta.get("route_reason", "this pipeline's own generator"),
                rung=meta.get("service", request.pace.service.told),
            ),
            receipt=receipt.close(),
            latency_ms=latency,
            request_id=request.request_id,
        )


def _output_of(pipeline: Pipeline, socket: str, name: str) -> str:
    for component, sockets in pipeline.outputs().items():
        if socket in sockets:
            return str(component)
    raise PipelineError(
        f"no component gives out `{socket}`",
        where=name,
        remedy="End it with ragsaver.components.answer_builder.CitedAnswerBuilder or another answer builder",
    )


def _found(document: Document) -> FoundPassage:
    return FoundPassage(
        source=str(document.meta.get("source", "")),
        heading=str(document.meta.get("heading", "")),
        text=document.content or "",
        score=float(document.score or 0.0),
    )


def _cause(error: BaseException, name: str) -> RagSaverError:
    """What a component raised, out of the wrappers of the engine."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, RagSaverError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return PipelineError(f"failed: {error}", where=name)
