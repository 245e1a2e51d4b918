"""What a pipeline of any shape gives out: the socket where it is, a passage that was found, and what went wrong."""

from haystack import Document, Pipeline

from ragsaver.components.document_values import page_of, said_of, score_of
from ragsaver.errors import PipelineError, RagSaverError, UsageError
from ragsaver.pipelines.places import SEARCH
from ragsaver.pipelines.result import FoundPassage


def output_of(pipeline: Pipeline, socket: str, name: str) -> str:
    """The component that gives out a socket.

    :param name: of the pipeline.
    :raises UsageError: if answers are wanted of the pipeline that gives passages.
    :raises PipelineError: if none does.
    """
    for component, sockets in pipeline.outputs().items():
        if socket in sockets:
            return str(component)
    if (name, socket) == (SEARCH, "answers"):
        raise UsageError(
            f"the pipeline `{SEARCH}` gives passages, no answers",
            remedy="Ask another pipeline, or search: POST /v1/search, `ragsaver search`",
        )
    raise PipelineError(
        f"no component gives out `{socket}`",
        where=name,
        remedy="End it with ragsaver.components.answer_builder.CitedAnswerBuilder or another answer builder",
    )


def found_passage(document: Document) -> FoundPassage:
    """A passage as it is shown."""
    return FoundPassage(
        source=said_of(document, "source"),
        heading=said_of(document, "heading"),
        page=page_of(document),
        text=document.content or "",
        score=score_of(document),
    )


def cause_of(error: BaseException, name: str) -> RagSaverError:
    """What a component raised, out of the wrappers of the engine."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, RagSaverError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return PipelineError(f"failed: {error}", where=name)
