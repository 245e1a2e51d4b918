"""Write docs/reference/settings.md from the settings themselves; `--check` only compares."""

import argparse
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from ragsaver.settings import Settings
from ragsaver.settings.section import CLASS_PATH, NAME, RATE, SCHEMA_NAME

TARGET = Path(__file__).resolve().parents[1] / "docs" / "reference" / "settings.md"

# The patterns of the settings, in words.
NAMES = {
    NAME: "letters, digits, `.`, `_`, `-`, at most 64",
    RATE: "`COUNT/second`, or `/minute`, `/hour`, `/day`",
    CLASS_PATH: "a module and a class in it, with dots",
    SCHEMA_NAME: "lower-case letters, digits, `_`, no digit first, at most 40",
}

HEAD = """# Settings

Settings come from the defaults, then `ragsaver.yaml` in the working directory, then variables: `context.budget_tokens`
is `RAGSAVER_CONTEXT__BUDGET_TOKENS`. A value `${NAME}` in the file is taken from the variable `NAME`. An unknown key
or a value that is not allowed is refused with the file, the line and what is allowed.

This page is written by `scripts/settings_reference.py`.
"""


def main() -> int:
    """Write the page, or compare it: 1 if it is not up to date."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true")
    page = HEAD + "".join(tables(Settings, ""))
    if arguments.parse_args().check:
        same = TARGET.read_text(encoding="utf-8") == page
        print("up to date" if same else f"{TARGET.name} is not up to date: run scripts/settings_reference.py")
        return 0 if same else 1
    TARGET.write_text(page, encoding="utf-8")
    return 0


def tables(section: type[BaseModel], path: str) -> Iterator[str]:
    """The table of a section, then those of the sections in it."""
    below = {name: inner for name, field in section.model_fields.items() if (inner := inner_section(field))}
    plain = {name: field for name, field in section.model_fields.items() if not _is_section(field.annotation)}
    yield f"\n## {f'`{path}`' if path else 'At the top'}\n\n{section.__doc__}\n\n"
    yield "| key | type | default | allowed | what it is |\n| --- | --- | --- | --- | --- |\n"
    for name, field in plain.items():
        yield f"| `{name}` | {shown_type(field)} | {shown_default(field)} | {bounds(field)} | {field.description} |\n"
    for name, inner in below.items():
        suffix = "[]" if _is_many(section.model_fields[name]) else ""
        if typing.get_origin(section.model_fields[name].annotation) is dict:
            suffix = ".NAME"
        yield from tables(inner, f"{path}.{name}{suffix}".lstrip("."))


def inner_section(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a key holds, one of, or many by name."""
    candidates = (field.annotation, *typing.get_args(field.annotation))
    return next((one for one in candidates if _is_section(one)), None)


def _is_many(field: FieldInfo) -> bool:
    return typing.get_origin(field.annotation) in (list, dict)


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _given(field: FieldInfo) -> typing.Any:
    """The type of a value that is given, where none may be."""
    if typing.get_origin(field.annotation) in (types.UnionType, typing.Union):
        return next(one for one in typing.get_args(field.annotation) if one is not type(None))
    return field.annotation


def shown_type(field: FieldInfo) -> str:
    """The type in YAML's words."""
    annotation = _given(field)
    if typing.get_origin(annotation) is typing.Literal:
        return "text"
    if _is_section(annotation):
        return "mapping"
    if typing.get_origin(annotation) in (list, dict):
        return "list" if typing.get_origin(annotation) is list else "mapping"
    names = {bool: "true or false", int: "integer", float: "number", str: "text", Path: "path", SecretStr: "secret"}
    return names.get(annotation, "number")


def shown_default(field: FieldInfo) -> str:
    """The default, or that there is none."""
    if field.is_required():
        return "(required)"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ([], {}, ""):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def bounds(field: FieldInfo) -> str:
    """What a value must keep to."""
    annotation = _given(field)
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(annotation))
    found = []
    for rule in field.metadata:
        if isinstance(rule, Ge):
            found.append(f"at least {rule.ge}")
        elif isinstance(rule, Gt):
            found.append(f"above {rule.gt}")
        elif isinstance(rule, Le):
            found.append(f"at most {rule.le}")
        elif isinstance(rule, Lt):
            found.append(f"below {rule.lt}")
        elif getattr(rule, "pattern", None):
            found.append(NAMES[rule.pattern])
    return ", ".join(found)


if __name__ == "__main__":
    sys.exit(main())
