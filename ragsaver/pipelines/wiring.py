"""Will every component of a pipeline ever run? Haystack says so with the first question; here it is known before."""

from collections.abc import Callable

from haystack import Pipeline

from ragsaver.errors import PipelineError

# What a question brings to whatever component wants it.
_ASKED = "query"


def require_wired(pipeline: Pipeline, where: Callable[..., str]) -> None:
    """Each input that must come from somewhere does.

    :param where: the file, with the line of a key.
    :raises PipelineError: naming the component, and what could be connected.
    """
    for name, sockets in pipeline.inputs().items():
        for socket, said in sockets.items():
            if said["is_mandatory"] and socket != _ASKED:
                raise PipelineError(
                    f"component `{name}` gets no `{socket}`",
                    where=where("components", name),
                    remedy=_could_send(pipeline, name, socket),
                )
    if stuck := _stuck(pipeline):
        names = " and ".join(f"`{name}`" for name in stuck)
        raise PipelineError(
            f"{names} can never run: what they need comes from themselves only",
            where=where("components", stuck[0]),
            remedy="Connect one of them to what runs before, or take the connection out that closes the circle",
        )


def _could_send(pipeline: Pipeline, name: str, socket: str) -> str:
    """The connection that is missing, as far as one can tell by its types."""
    wanted = pipeline.graph.nodes[name]["input_sockets"][socket].type
    outputs = [
        (other, output)
        for other, _ in pipeline.walk()
        if other != name
        for output, gives in pipeline.graph.nodes[other]["output_sockets"].items()
        if gives.type == wanted
    ]
    senders = [f"{other}.{output}" for other, output in sorted(outputs, key=lambda one: one[1] != socket)]
    line = f"{{sender: {senders[0] if senders else 'COMPONENT.OUTPUT'}, receiver: {name}.{socket}}}"
    others = f" ({', '.join(senders[1:])} would fit, too)" if senders[1:] else ""
    return f"Add a connection: {line}{others}"


def _stuck(pipeline: Pipeline) -> list[str]:
    """Components that wait for what only such ones give."""
    nodes = {name: pipeline.graph.nodes[name]["input_sockets"] for name in pipeline.graph.nodes}
    running: set[str] = set()
    while begun := [
        name
        for name, sockets in nodes.items()
        if name not in running
        and all(
            not socket.is_mandatory or not socket.senders or not running.isdisjoint(socket.senders)
            for socket in sockets.values()
        )
    ]:
        running.update(begun)
    return sorted(nodes.keys() - running)
