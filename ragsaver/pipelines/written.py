"""What stands in a pipeline's YAML, held against what can stand there, before anything is made of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from haystack.marshal.yaml import YamlLoader

from ragsaver.errors import PipelineError
from ragsaver.yaml_lines import read_lines, said_of, twice

_KEYS = ("components", "connections", "metadata", "max_runs_per_component", "connection_type_validation")
_OF_COMPONENT = ("type", "init_parameters")
_OF_CONNECTION = ("sender", "receiver")


class Connection(NamedTuple):
    """From where to where: `COMPONENT.SOCKET`, or a component alone where it has one socket."""

    sender: str
    receiver: str


@dataclass(frozen=True, slots=True)
class Written:
    """A pipeline as a file has it.

    :ivar components: by name, each with `type` and, if it has any, `init_parameters`.
    :ivar more: what else Haystack's `Pipeline` takes.
    :ivar where: the file, with the line of a key.
    """

    components: Mapping[str, Mapping[str, Any]]
    connections: Sequence[Connection]
    more: Mapping[str, Any]
    where: Callable[..., str]


def shown(file: Path) -> str:
    """A pipeline's file for people, who may ask over HTTP: not where on the machine it is."""
    return f"{file.parent.name}/{file.name}"


def nearest(name: str, others: Iterable[str]) -> str:
    """For a remedy: which of the others was meant, if one is near; else all of them."""
    there = sorted(others)
    near = get_close_matches(name, there, 1)
    return f"Did you mean `{near[0]}`?" if near else f"There are: {', '.join(there)}"


def read_written(file: Path, text: str) -> Written:
    """Read a pipeline's YAML.

    :raises PipelineError: naming line and remedy.
    """
    try:
        data, found = read_lines(text, YamlLoader)
    except yaml.YAMLError as error:
        said, line = said_of(error)
        raise PipelineError(said, where=f"{shown(file)}:{line}" if line else shown(file)) from error
    lines = dict(found)

    def where(*path: str) -> str:
        known = next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), 1)
        return f"{shown(file)}:{known}"

    if again := twice(found):
        raise PipelineError(
            f"`{'.'.join(again[0])}` stands there twice",
            where=f"{shown(file)}:{again[1]}",
            remedy="Give one of them another name, or take it out",
        )
    if not isinstance(data, dict) or not isinstance(data.get("components"), dict) or not data["components"]:
        raise PipelineError(
            "a pipeline needs `components`: names with what each is",
            where=where("components"),
            remedy="`ragsaver init` writes two pipelines to begin with",
        )
    _require_no_slip(data, where)
    components = {name: _component(name, one, where) for name, one in data["components"].items()}
    connections = data.get("connections", [])
    if not isinstance(connections, list):
        raise PipelineError(
            "`connections` must be a list", where=where("connections"), remedy="Write `connections: []` for none"
        )
    return Written(
        components,
        [_connection(number, one, components, where) for number, one in enumerate(connections)],
        {key: value for key, value in data.items() if key in _KEYS[2:]},
        where,
    )


def _require_no_slip(data: Mapping[Any, Any], where: Callable[..., str]) -> None:
    """Others write more into such files; what is nearly one of these keys is meant to be it."""
    for key in data:
        near = get_close_matches(str(key), _KEYS, 1) if key not in _KEYS else []
        if near:
            raise PipelineError(f"unknown key `{key}`", where=where(str(key)), remedy=f"Did you mean `{near[0]}`?")
    runs = data.get("max_runs_per_component", 1)
    if not isinstance(runs, int) or runs < 1:
        raise PipelineError(
            f"`max_runs_per_component` must be a whole number above 0, got {runs!r}",
            where=where("max_runs_per_component"),
        )


def _component(name: Any, one: Any, where: Callable[..., str]) -> Mapping[str, Any]:
    here = where("components", str(name))
    if not isinstance(name, str) or "." in name:
        raise PipelineError(f"`{name}` can't name a component", where=here, remedy="Use letters, digits and `_`")
    if not isinstance(one, dict) or not isinstance(one.get("type"), str) or "." not in one["type"]:
        raise PipelineError(
            f"component `{name}` has no `type`",
            where=here,
            remedy="Name its class with the module: ragsaver.components.packer.ContextPacker",
        )
    _require_known(f"component `{name}`", one, _OF_COMPONENT, lambda key: where("components", name, key))
    parameters = one.get("init_parameters", {})
    if not isinstance(parameters, dict) or not all(isinstance(key, str) for key in parameters):
        raise PipelineError(
            f"`init_parameters` of component `{name}` must hold names and values",
            where=where("components", name, "init_parameters"),
            remedy="Write `init_parameters: {}` for none",
        )
    return one


def _connection(number: int, one: Any, components: Iterable[str], where: Callable[..., str]) -> Connection:
    here = where("connections", str(number))
    if not isinstance(one, dict) or not all(isinstance(one.get(end), str) for end in _OF_CONNECTION):
        raise PipelineError(
            "a connection needs a `sender` and a `receiver`",
            where=here,
            remedy="Write {sender: retriever.documents, receiver: packer.documents}",
        )
    _require_known("a connection", one, _OF_CONNECTION, lambda key: here)
    for end in _OF_CONNECTION:
        name = one[end].partition(".")[0]
        if name not in components:
            raise PipelineError(
                f"the {end} `{one[end]}` is of no component", where=here, remedy=nearest(name, components)
            )
    return Connection(one["sender"], one["receiver"])


def _require_known(what: str, one: Mapping[Any, Any], keys: Sequence[str], where: Callable[[str], str]) -> None:
    for key in one:
        if key not in keys:
            raise PipelineError(
                f"{what} has the unknown key `{key}`", where=where(str(key)), remedy=nearest(str(key), keys)
            )
