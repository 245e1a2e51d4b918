"""Run a pipeline of RAGSaver's own components without the care that Haystack takes of anybody's.

Haystack copies all that a component is given, looks after each for the next that can run, and describes each to a
tracer: a fifth of a millisecond a component. RAGSaver's own change nothing that they are given, and without loops their
order is known beforehand. What comes out is the same.
"""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from haystack import Pipeline
from haystack.core.errors import PipelineRuntimeError
from haystack.tracing.tracer import is_tracing_enabled


class _Step(NamedTuple):
    """A component's turn.

    :ivar needs: its inputs that have no default.
    :ivar waits: whether it is there for what others send it.
    :ivar sends: its output, who receives it, and as which input.
    :ivar sent: its outputs that are received.
    """

    name: str
    instance: Any
    needs: frozenset[str]
    waits: bool
    sends: tuple[tuple[str, str, str], ...]
    sent: frozenset[str]


class DirectRun:
    """Runs a pipeline as its own `run` does.

    A pipeline with a component of somebody else, with a loop, with an input that takes from several senders or converts
    what it gets is left to Haystack, and so is any while its tracing is enabled.

    :param package: whose components are RAGSaver's own.
    """

    def __init__(self, pipeline: Pipeline, package: str = "ragsaver") -> None:
        self.pipeline = pipeline
        self._steps = _steps(pipeline) if _is_plain(pipeline, package) else None
        self._warm = False

    @property
    def is_direct(self) -> bool:
        """Whether Haystack's engine is left out."""
        return self._steps is not None and not is_tracing_enabled()

    def __call__(self, inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """What components give out and no other receives, by component.

        :param inputs: by component and socket; those without a default are there.
        :raises PipelineRuntimeError: if a component fails; its cause is what it raised.
        """
        if self._steps is None or not self.is_direct:
            return self.pipeline.run({name: dict(given) for name, given in inputs.items()})
        if not self._warm:
            self.pipeline.warm_up()
            self._warm = True
        given: dict[str, dict[str, Any]] = {step.name: dict(inputs.get(step.name, ())) for step in self._steps}
        left: dict[str, Any] = {}
        for step in self._steps:
            mine = given[step.name]
            if not step.needs <= mine.keys() or (step.waits and not mine):
                continue
            try:
                made = step.instance.run(**mine)
            except PipelineRuntimeError:
                raise
            except Exception as error:
                raise PipelineRuntimeError.from_exception(step.name, type(step.instance), error) from error
            for output, receiver, socket in step.sends:
                if output in made:
                    given[receiver][socket] = made[output]
            if rest := {output: value for output, value in made.items() if output not in step.sent}:
                left[step.name] = rest
        return left


def _is_plain(pipeline: Pipeline, package: str) -> bool:
    return (
        all(type(one).__module__.partition(".")[0] == package for _, one in pipeline.walk())
        and not any(
            line["conversion_strategy"] or line["to_socket"].is_variadic
            for _, _, line in pipeline.graph.edges(data=True)
        )
        # what else is to come from outside, Haystack asks for in its own words
        and all(
            name == "query"
            for free in pipeline.inputs().values()
            for name, socket in free.items()
            if socket["is_mandatory"]
        )
    )


def _steps(pipeline: Pipeline) -> tuple[_Step, ...] | None:
    """None if there is a loop."""
    before = {name: sorted(pipeline.graph.predecessors(name)) for name in sorted(pipeline.graph.nodes)}
    try:
        return tuple(_step(pipeline, name) for name in TopologicalSorter(before).static_order())
    except CycleError:
        return None


def _step(pipeline: Pipeline, name: str) -> _Step:
    sockets = pipeline.graph.nodes[name]["input_sockets"].values()
    sends = tuple(
        (line["from_socket"].name, receiver, line["to_socket"].name)
        for _, receiver, line in pipeline.graph.out_edges(name, data=True)
    )
    return _Step(
        name,
        pipeline.get_component(name),
        needs=frozenset(socket.name for socket in sockets if socket.is_mandatory),
        waits=any(socket.senders for socket in sockets),
        sends=sends,
        sent=frozenset(output for output, _, _ in sends),
    )
