"""A pipeline of RAGSaver's own components gives what Haystack's engine gives, and any other is left to that engine."""

import re
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from haystack import Pipeline, component, tracing
from haystack.components.rankers import LostInTheMiddleRanker
from haystack.core.component.types import Variadic
from haystack.core.errors import PipelineRuntimeError
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.request import Request
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.direct_run import DirectRun
from ragsaver.pipelines.loader import load_pipeline
from ragsaver.pipelines.places import find_pipeline
from ragsaver.pipelines.runtime import Runtime

OWN = __name__.partition(".")[0]


@component
class Teller:
    """Says of what it was told, in two outputs; `mute` leaves one of them out."""

    def __init__(self, name: str, mute: bool = False):
        self.name = name
        self.mute = mute

    @component.output_types(said=str, aside=str)
    def run(self, query: str, first: str = "-", second: str | None = None):
        said = {"said": f"{self.name}({query},{first},{second})"}
        return said if self.mute else {**said, "aside": f"{self.name} aside"}


@component
class Strict(Teller):
    """Has nothing to say where it is told nothing."""

    @component.output_types(said=str, aside=str)
    def run(self, query: str, first: str, second: str | None = None):
        return Teller.run(self, query, first, second)


@component
class Gatherer:
    @component.output_types(said=str)
    def run(self, query: str, told: Variadic[str]):
        return {"said": "+".join(sorted(told))}


@component
class Whole:
    @component.output_types(said=int)
    def run(self, query: str):
        return {"said": 3}


@component
class Failing:
    @component.output_types(said=str)
    def run(self, query: str):
        raise ValueError("no such thing")


def pipeline_of(**parts) -> Pipeline:
    pipeline = Pipeline()
    for name, part in parts.items():
        pipeline.add_component(name, part)
    return pipeline


def asked(pipeline: Pipeline, question: str = "why") -> dict[str, dict[str, str]]:
    return {name: {"query": question} for name, free in pipeline.inputs().items() if "query" in free}


@st.composite
def graphs(draw) -> Pipeline:
    """Some tellers, each told by those before it, in whatever order they are named."""
    names = draw(st.permutations("abcdef"))[: draw(st.integers(1, 6))]
    pipeline = pipeline_of(
        **{name: draw(st.sampled_from([Teller, Strict]))(name, mute=draw(st.booleans())) for name in names}
    )
    for place, name in enumerate(names):
        senders = [f"{one}.{output}" for one in names[:place] for output in ("said", "aside")]
        strict = isinstance(pipeline.get_component(name), Strict)
        for socket in ("first", "second"):
            sender = draw(st.sampled_from(senders) if strict and senders else st.sampled_from([None, *senders]))
            if sender:
                pipeline.connect(sender, f"{name}.{socket}")
    return pipeline


@given(graphs())
def test_it_gives_what_the_engine_gives(pipeline: Pipeline):
    run = DirectRun(pipeline, OWN)
    if run.is_direct:
        with patch.object(pipeline, "run", side_effect=AssertionError("the engine ran")):
            got = run(asked(pipeline))
        assert got == pipeline.run(asked(pipeline))
    else:  # a strict one that nobody tells anything asks for it in Haystack's words
        with pytest.raises(ValueError, match="first"):
            run(asked(pipeline))


@pytest.mark.parametrize("name", ["query", "reranked", "outlined"])
def test_shipped_pipelines_answer_alike_both_ways(runtime: Runtime, name: str):
    texts = [
        PostedDocument(f"{n}.md", f"# Isle {n}\n\nThe beacon of isle {n} burns since {1800 + n}.") for n in range(9)
    ]
    runtime.ingestor.ingest_texts(texts, runtime.scope())
    engine = runtime.engine(name)

    def ask():
        result = engine.ask("Since when burns the beacon of isle 4?", Request(runtime.reading(), caching="off"))
        lines = [line.model_dump(exclude={"ms"}) for line in result.receipt.lines]
        for line in lines:  # the bar of the reranker's gate follows the questions before
            line["reason"] = re.sub(r"above \d\.\d\d", "above the bar", line["reason"])
        return result.answer, result.citations, result.route, lines

    with patch.object(engine.pipeline, "run", side_effect=AssertionError("the engine ran")):
        direct = ask()
    assert direct[0] == "The beacon of isle 4 burns since 1804."
    with patch.object(DirectRun, "is_direct", False):
        assert ask() == direct


def test_search_runs_directly_too(runtime: Runtime):
    pipeline = load_pipeline(find_pipeline("search", runtime.settings.pipelines_dir), runtime.resources)
    assert DirectRun(pipeline).is_direct


def test_a_failure_is_told_as_the_engine_tells_it():
    pipeline = pipeline_of(teller=Failing())
    with pytest.raises(PipelineRuntimeError) as engine:
        pipeline.run(asked(pipeline))
    with pytest.raises(PipelineRuntimeError) as direct:
        DirectRun(pipeline, OWN)(asked(pipeline))
    assert str(direct.value) == str(engine.value)
    assert isinstance(direct.value.__cause__, ValueError)


def test_who_must_be_warm_is_warmed_once():
    warmed = []
    teller = Teller("a")
    teller.warm_up = lambda: warmed.append(1)
    pipeline = pipeline_of(a=teller)
    run = DirectRun(pipeline, OWN)
    run(asked(pipeline))
    run(asked(pipeline))
    assert warmed == [1]


def others() -> dict[str, Pipeline]:
    loop = pipeline_of(a=Teller("a"), b=Teller("b"))
    loop.connect("a.said", "b.first")
    loop.connect("b.said", "a.first")
    gathered = pipeline_of(a=Teller("a"), b=Teller("b"), c=Gatherer())
    gathered.connect("a.said", "c.told")
    gathered.connect("b.said", "c.told")
    foreign = pipeline_of(a=Teller("a"), ranker=LostInTheMiddleRanker())
    return {"loop": loop, "gathered": gathered, "foreign": foreign}


@pytest.mark.parametrize("kind", ["loop", "gathered", "foreign"])
def test_other_pipelines_are_left_to_the_engine(kind: str):
    pipeline = others()[kind]
    run = DirectRun(pipeline, OWN)
    assert not run.is_direct
    with patch.object(pipeline, "run", return_value={"by": "the engine"}):
        assert run(asked(pipeline)) == {"by": "the engine"}


def test_a_tracer_sees_every_component():
    names: list[str] = []

    class Span(tracing.Span):
        def set_tag(self, key, value):
            pass

    class Spans(tracing.Tracer):
        @contextmanager
        def trace(self, operation_name, tags=None, parent_span=None):
            names.append((tags or {}).get("haystack.component.name", operation_name))
            yield Span()

        def current_span(self):
            return None

    pipeline = pipeline_of(a=Teller("a"), b=Teller("b"))
    pipeline.connect("a.said", "b.first")
    run = DirectRun(pipeline, OWN)
    tracing.enable_tracing(Spans())
    try:
        traced = run(asked(pipeline))
    finally:
        tracing.disable_tracing()
    assert names == ["haystack.pipeline.run", "a", "b"]
    assert traced == run(asked(pipeline))
