"""Does anything of a pipeline look at what each leg thought of a passage? Where nothing does, the engine may fuse."""

from collections.abc import Iterator

from haystack import Pipeline

from ragsaver.components.answer_builder import CitedAnswerBuilder
from ragsaver.components.deduplicator import NearDuplicateFilter
from ragsaver.components.prompt_builder import PromptBuilder
from ragsaver.components.rerank import ConditionalReranker
from ragsaver.components.retriever import HybridRetriever
from ragsaver.errors import PipelineError
from ragsaver.pipelines.building import Where

_NEVER_LOOK = (CitedAnswerBuilder, NearDuplicateFilter, PromptBuilder)
_LEGS = ("dense_score", "lexical_score")


def leave_unread_legs(pipeline: Pipeline, where: Where) -> None:
    """Tell each retriever whose legs nobody looks at.

    :param where: the file, with the line of a key.
    :raises PipelineError: if one is told to leave fusion to the engine, and something of RAGSaver's looks at the legs.
    """
    for name, retriever in list(pipeline.walk()):
        if not isinstance(retriever, HybridRetriever):
            continue
        readers = list(_readers(pipeline, name))
        if retriever.fuse_in == "engine" and (ours := [one for one in readers if _is_of(pipeline, one, "ragsaver")]):
            raise PipelineError(
                f"`{ours[0]}` looks at the scores of each leg, which the engine keeps to itself",
                where=where("components", name, "init_parameters", "fuse_in"),
                remedy=f"Take `fuse_in: engine` out of `{name}`",
            )
        if all(_yields(pipeline.get_component(one)) for one in readers):
            retriever.leave_legs(but_gated=bool(readers))


def _readers(pipeline: Pipeline, retriever: str) -> Iterator[str]:
    """Components behind a retriever that look at its legs, or may."""
    written = pipeline.to_dict()
    behind, coming = set[str](), {retriever}
    while coming:
        sent = {
            line["receiver"].partition(".")[0]
            for line in written["connections"]
            if line["sender"].partition(".")[0] in coming
        }
        coming = sent - behind
        behind |= sent
    for name in sorted(behind):
        part = pipeline.get_component(name)
        # of Haystack's own one can tell by what they are told: a field to sort by, a prompt
        told = not _is_of(pipeline, name, "haystack") or any(leg in str(written["components"][name]) for leg in _LEGS)
        if told and not isinstance(part, _NEVER_LOOK):
            yield name


def _yields(part: object) -> bool:
    """Whether it is a reranker that is off where an engine may fuse, unless the settings turn it on."""
    return isinstance(part, ConditionalReranker) and not part.insists


def _is_of(pipeline: Pipeline, name: str, package: str) -> bool:
    return type(pipeline.get_component(name)).__module__.partition(".")[0] == package
