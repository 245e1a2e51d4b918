"""JSON and JSON Lines as a person would write it down: `key: value` lines under headings that name the path."""

import json
from collections.abc import Iterator
from typing import Any

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.blocks import Block, ParsedDocument
from ragsaver.ingestion.converters.plain_text import decode

# A line longer than this is prose, which is cut at its sentences.
_LONG_LINE_CHARS = 500
_TITLE_KEYS = ("title", "name", "subject")
_DEEPEST_HEADING = 6


def from_json(data: bytes, name: str) -> ParsedDocument:
    """Nested objects are headings, their values lines; each object of a list is a block."""
    text = decode(data, name)
    try:
        value = json.loads(text)
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError as error:
        if str(error).startswith("Extra data"):  # often JSON Lines under another name
            return from_jsonl(data, name)
        raise _no_json(error, name) from None
    try:
        return ParsedDocument(tuple(_value(value, 1)), _title(value))
    except RecursionError:
        raise _too_deep(name) from None


def from_jsonl(data: bytes, name: str) -> ParsedDocument:
    """A row a block."""
    blocks: list[Block] = []
    try:
        for number, line in enumerate(decode(data, name).split("\n"), 1):
            if line.strip():
                try:
                    blocks += _record(json.loads(line))
                except ValueError as error:
                    raise _no_json(error, f"{name}:{number}") from None
    except RecursionError:
        raise _too_deep(name) from None
    return ParsedDocument(tuple(blocks))


def _value(value: Any, level: int) -> Iterator[Block]:
    if isinstance(value, dict):
        yield from _lines([line for key, one in value.items() if _is_flat(one) for line in _flat(one, str(key))])
        for key, one in value.items():
            if not _is_flat(one):
                yield Block("heading", str(key), level=min(level, _DEEPEST_HEADING))
                yield from _value(one, level + 1)
    elif isinstance(value, list) and not _is_flat(value):
        for one in value:
            yield from _record(one)
    else:
        yield from _record(value)


def _record(value: Any) -> Iterator[Block]:
    return _lines(list(_flat(value, "")))


def _is_flat(value: Any) -> bool:
    """Whether a value fits on a line: no object, nor a list of any."""
    if isinstance(value, list):
        return not any(isinstance(one, dict | list) for one in value)
    return not isinstance(value, dict)


def _flat(value: Any, path: str) -> Iterator[str]:
    """Lines that say the path to each value below this one."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _flat(one, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and not _is_flat(value):
        for number, one in enumerate(value):
            yield from _flat(one, f"{path}[{number}]")
    else:
        said = ", ".join(map(_scalar, value)) if isinstance(value, list) else _scalar(value)
        if said.strip():
            yield f"{path}: {said.strip()}" if path else said.strip()


def _scalar(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _lines(lines: list[str]) -> Iterator[Block]:
    if lines:
        prose = any(len(line) > _LONG_LINE_CHARS for line in lines)
        yield Block("paragraph" if prose else "list", "\n".join(lines))


def _title(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    named = (value.get(key) for key in _TITLE_KEYS)
    return next((one.strip() for one in named if isinstance(one, str) and one.strip()), None)


def _no_json(error: ValueError, where: str) -> UnreadableDocument:
    return UnreadableDocument(f"is no readable JSON: {error}", where=where, remedy="It may be cut off: export it again")


def _too_deep(name: str) -> UnreadableDocument:
    return UnreadableDocument("is nested too deeply", where=name, remedy="Flatten it, or leave it out")
