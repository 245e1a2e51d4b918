"""Which passages does a search give? Those of `search.yaml`, or those that an answer would be packed from.

A pipeline that reranks is run as far as its packer, so that a search finds, and explains, what its answers are made
from; unless `search.yaml` insists on a reranker of its own.
"""

from collections.abc import Callable, Mapping
from typing import Any

from haystack import Document, Pipeline

from ragsaver.components.explain import current_explanation
from ragsaver.components.packer import ContextPacker
from ragsaver.components.rerank import ConditionalReranker
from ragsaver.components.resources import Resources
from ragsaver.pipelines.direct_run import DirectRun
from ragsaver.pipelines.outputs import output_of
from ragsaver.pipelines.places import SEARCH


class SearchPipeline:
    """What a search runs.

    :param load: gives a pipeline of its own, by name.
    :param name: of the pipeline that answers.
    :param resources: what its components work on.
    :ivar sockets: what it can be given, by component.
    :raises PipelineError: if `search.yaml` gives out no passages.
    """

    def __init__(self, load: Callable[[str], Pipeline], name: str, resources: Resources) -> None:
        self.pipeline = load(SEARCH)
        given_by = SEARCH
        self._packer = ContextPacker()
        self._packer.bind(resources)
        self._top_k = resources.settings.retrieval.top_k
        if not any(part.insists for part in _rerankers(self.pipeline)) and (found := _before_packing(load(name))):
            self.pipeline, packer = found
            given_by = name
            self._packer = packer or self._packer
        self._reranks = any(part.reranks for part in _rerankers(self.pipeline))
        self._given = output_of(self.pipeline, "documents", given_by)
        self._run = DirectRun(self.pipeline)
        self.sockets = self.pipeline.inputs()

    def run(self, inputs: Mapping[str, Mapping[str, Any]], limit: int) -> list[Document]:
        """Passages, best first.

        :param limit: how many at most.
        """
        given = {name: dict(sockets) for name, sockets in inputs.items()}
        for name, sockets in self.sockets.items():
            if "top_k" in sockets:
                given.setdefault(name, {})["top_k"] = self._fetched(name, limit)
        documents: list[Document] = self._run(given)[self._given]["documents"]
        found = documents[:limit]
        explanation = current_explanation()
        if explanation and len(documents) > limit:
            explanation.order(found)
            for document in documents[limit:]:
                explanation.leave_out(document.id, f"beyond the first {limit}")
        return found

    def pack(self, question: str, found: list[Document]) -> None:
        """Tell who has asked for an explanation what each passage would get of a packed context."""
        self._packer.run(question, found)

    def _fetched(self, name: str, limit: int) -> int:
        """How many passages a retriever gets; a reranker is shown as many as for an answer, however few are wanted."""
        own = getattr(self.pipeline.get_component(name), "top_k", None) or self._top_k
        return max(limit, own) if self._reranks else limit


def _before_packing(pipeline: Pipeline) -> tuple[Pipeline, ContextPacker | None] | None:
    """What goes before the packer, and that; None where nothing of it reranks.

    :param pipeline: the rest is taken out of it.
    """
    lines = [
        (line["sender"].partition("."), line["receiver"].partition(".")) for line in pipeline.to_dict()["connections"]
    ]
    edges = [(sender[0], receiver[0]) for sender, receiver in lines]
    rerankers = [name for name, part in pipeline.walk() if isinstance(part, ConditionalReranker) and part.reranks]
    packers = {name: part for name, part in pipeline.walk() if isinstance(part, ContextPacker)}
    ends = {
        sender[0]: receiver[0] for sender, receiver in lines if receiver[0] in packers and receiver[2] == "documents"
    }
    for end in [*ends, *rerankers]:
        staying = {end}
        while before := {sender for sender, receiver in edges if receiver in staying} - staying:
            staying |= before
        if staying.isdisjoint(rerankers):
            continue
        for name in [name for name, _ in pipeline.walk() if name not in staying]:
            pipeline.remove_component(name)
        return pipeline, packers.get(ends.get(end, ""))
    return None


def _rerankers(pipeline: Pipeline) -> list[ConditionalReranker]:
    return [part for _, part in pipeline.walk() if isinstance(part, ConditionalReranker)]
