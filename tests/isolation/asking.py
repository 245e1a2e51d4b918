"""A shipped pipeline, and all that it tells who asks it: answers, explanations, prompts and what caches give again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragsaver.components.lexical_retriever import LexicalRetriever
from ragsaver.components.passages import Passages
from ragsaver.components.request import Request, running
from ragsaver.components.retriever import HybridRetriever
from ragsaver.index.scope import Scope
from ragsaver.ingestion.selection import DocumentSelection
from ragsaver.pipelines.engine import QueryEngine
from ragsaver.pipelines.places import pipeline_names
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings
from tests.openai_server import Script, openai_server

# All that are packaged and answer; `search` is their way to passages, by which each is searched as well.
PIPELINES = [one for one in pipeline_names(Path("no folder of a project's own")) if one != "search"]
RETRIEVERS = (HybridRetriever, LexicalRetriever)


@dataclass(frozen=True, slots=True)
class Asked:
    """A pipeline in a process that others use too.

    :ivar script: of the language model's server, with the prompts that it got.
    """

    runtime: Runtime
    engine: QueryEngine
    script: Script

    def found(self, scope: Scope, question: str, retriever: type = HybridRetriever) -> Passages:
        """The passages of a retriever that stands alone."""
        alone = retriever()
        alone.bind(self.runtime.resources)
        with running(Request(scope)):
            passages: Passages = alone.run(question)["documents"]
        return passages

    def told(self, scope: Scope, question: str, beside: Scope | None = None) -> dict[str, Any]:
        """All that a tenant is told, scores to the bit; not how long it took.

        :param beside: who asks the same before it.
        """
        self.runtime.resources.favourites.forget()
        for _ in range(2 if beside else 0):
            self.engine.ask(question, Request(beside or scope))
        # First: after it the question's vector is there, each time, and receipts say so.
        passages = [
            # A point whose payload was rewritten has no keys without value.
            (one.id, one.content, one.score, {key: value for key, value in one.meta.items() if value is not None})
            for retriever in RETRIEVERS
            for one in self.found(scope, question, retriever)
        ]
        self.script.requests.clear()
        # Twice: the second time outlines of what was used stand in front.
        asked = [
            self.engine.ask(question, Request(scope, request_id="req"), explain=True).model_dump(exclude={"latency_ms"})
            for _ in range(2)
        ]
        prompts = [request["messages"] for request in self.script.requests]
        kept = [self.engine.ask(question, Request(scope)) for _ in range(2)]
        listed = self.runtime.lifecycle.list(DocumentSelection(), scope).documents
        return {
            "asked": asked,
            "prompts": prompts,
            "kept": [(one.answer, one.reason, one.citations) for one in kept],
            "searched": self.engine.search(question, Request(scope), explain=True).model_dump(),
            "passages": passages,
            "documents": [(one.source, one.bytes) for one in listed],
        }


@contextmanager
def asking(pipeline: str, folder: Path) -> Iterator[Asked]:
    """Open a shipped pipeline. Each question is reranked where it can be; outlines are for a model to read."""
    with openai_server(script := Script(reply="It is so [1].")) as url:
        tiny = {"name": "tiny", "base_url": url, "max_retries": 0, "api_key": "k"}
        settings = Settings.model_validate(
            {
                "home": folder / "home",
                "pipelines_dir": folder / "pipelines",
                "rerank": {"mode": "always", "deadline_ms": 60_000},
                "generation": {"models": [tiny] if pipeline == "outlined" else []},
                "spend": {"prices": {"tiny": {"input_per_mtok": 1, "output_per_mtok": 1}}},
            }
        )
        with open_runtime(settings, "a test") as runtime:
            yield Asked(runtime, runtime.engine(pipeline), script)
