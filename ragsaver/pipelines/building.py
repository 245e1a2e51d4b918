"""A component of a pipeline's YAML becomes an instance, or an error that says which of its lines is wrong."""

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

from haystack import Pipeline, component
from haystack.core.serialization import DeserializationCallbacks
from pydantic import TypeAdapter, ValidationError

from ragsaver.errors import PipelineError, RagSaverError
from ragsaver.pipelines.written import nearest

_OWN = "ragsaver."
# How Haystack says that a module is not on its list.
_REFUSED = re.compile(r"from module '([^']+)': the module is not on the trusted-module allowlist")
_SHIPPED = re.compile(r"^@component\nclass (\w+)", re.MULTILINE)

Where = Callable[..., str]


def build(name: str, written: Mapping[str, Any], where: Where, allowed_modules: Sequence[str]) -> Any:
    """Make one.

    :param written: its `type` and `init_parameters`.
    :param where: the file, with the line of a key.
    :raises PipelineError: naming the line and what can stand there.
    """

    def fits(_: str, made: type, parameters: Mapping[str, Any]) -> None:
        if made.__module__.startswith(_OWN):
            _require_types(name, made, parameters, where)

    alone = {"components": {name: dict(written)}}
    callbacks = DeserializationCallbacks(component_pre_init=fits)
    try:
        return Pipeline.from_dict(alone, callbacks, allowed_modules=list(allowed_modules)).remove_component(name)
    except Exception as error:  # a component of anybody's may raise anything
        raise _explained(error, name, written, where) from error


def _explained(error: Exception, name: str, written: Mapping[str, Any], where: Where) -> PipelineError:
    kind, here = written["type"], where("components", name, "type")
    causes = list(_causes(error))
    ours = next((one for one in causes if isinstance(one, RagSaverError)), None)
    if isinstance(ours, PipelineError):
        return ours
    if ours is not None:
        return PipelineError(f"component `{name}` can't be made: {ours.problem}", where=here, remedy=ours.remedy)
    made = component.registry.get(kind)
    refused = next((module for one in causes if (module := _REFUSED.search(str(one)))), None)
    if refused is not None:
        return PipelineError(
            f"component `{name}` is of the module `{refused[1]}`, which may not be loaded",
            where=here,
            remedy=f"If you trust it, name it in ragsaver.yaml: `allow_modules: [{refused[1].partition('.')[0]}]`",
        )
    if made is None:
        reason = next((f": {one}" for one in causes if isinstance(one, ImportError)), "")
        return PipelineError(f"component `{name}`: there is no `{kind}`{reason}", where=here, remedy=_meant(kind))
    known = _parameters(made)
    for parameter in written.get("init_parameters", {}):
        if known is not None and parameter not in known:
            return PipelineError(
                f"component `{name}` has no parameter `{parameter}`",
                where=where("components", name, "init_parameters", parameter),
                remedy=nearest(parameter, known) if known else "It takes none",
            )
    return PipelineError(
        f"component `{name}` can't be made: {causes[-1]}",
        where=where("components", name, "init_parameters"),
        remedy=f"{made.__name__} takes: {', '.join(known)}" if known else None,
    )


def _parameters(made: type) -> list[str] | None:
    """What a component takes by name; None if that may be anything."""
    if made.__init__ is object.__init__:  # type: ignore[misc]
        return []
    _, *parameters = inspect.signature(made.__init__).parameters.values()  # type: ignore[misc]
    by_name = all(one.kind is not inspect.Parameter.VAR_KEYWORD for one in parameters)
    return [one.name for one in parameters] if by_name else None


def _require_types(name: str, made: type, parameters: Mapping[str, Any], where: Where) -> None:
    hints = get_type_hints(made.__init__)  # type: ignore[misc]
    for parameter, value in parameters.items():
        if parameter not in hints:
            continue
        try:
            TypeAdapter(hints[parameter]).validate_python(value, strict=True)
        except ValidationError as error:
            raise PipelineError(
                f"`{parameter}` of component `{name}` has a value that is not allowed (given: {value!r})",
                where=where("components", name, "init_parameters", parameter),
                remedy=error.errors()[0]["msg"],
            ) from None


def _meant(kind: str) -> str:
    """Where the class is that was meant."""
    module, _, cls = kind.rpartition(".")
    real = getattr(sys.modules.get(module), cls, None)
    if inspect.isclass(real):
        return f"Name it by its own module: {real.__module__}.{real.__qualname__}"
    near = get_close_matches(kind, {*shipped(), *component.registry}, 1)
    return f"Did you mean `{near[0]}`?" if near else "docs/reference/pipelines.md lists what is shipped"


@cache
def shipped() -> tuple[str, ...]:
    """The components of this package, told by their files: to import them all takes a while."""
    folder = Path(str(files("ragsaver.components")))
    return tuple(
        f"ragsaver.components.{file.stem}.{cls}"
        for file in sorted(folder.glob("*.py"))
        for cls in _SHIPPED.findall(file.read_text(encoding="utf-8"))
    )


def _causes(error: BaseException) -> Sequence[BaseException]:
    """What was raised, and what that was raised for, to the first."""
    found = [error]
    while (seen := found[-1].__cause__ or found[-1].__context__) is not None and seen not in found:
        found.append(seen)
    return found
