"""The JSON schema that an answer has to fit: read from a caller, told to a model, checked, mended.

A schema comes from outside and is run here: it can't make this process fetch an address, match a regular expression,
or follow references without end.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator, SchemaError, ValidationError, validators
from referencing import Registry
from referencing.exceptions import Unresolvable

from ragsaver.errors import UsageError

MAX_CHARS = 20_000  # of a schema, as compact JSON
_MAX_DEPTH = 40
_MAX_REFERENCES = 20_000  # followed while one answer is checked
_MAX_STARTS = 50  # places of a reply where its JSON is looked for
DETAIL_CHARS = 400

_DIALECTS = ("https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema")
_NAMES = ("properties", "$defs", "definitions", "dependentSchemas")  # their keys are names, no keywords
_DATA = ("enum", "const", "default", "examples")
_REFUSED = ("pattern", "patternProperties", "$dynamicRef", "$recursiveRef")
_REFERENCE = re.compile(r"#(/(\$defs|definitions)/[^/]+)?")
_FENCE = re.compile(r"\A\s*```\w*\n(.*?)\n?```\s*\Z", re.DOTALL)
_START = re.compile(r"[\[{]")


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a reply does not fit; `detail` may hold words of it, `reason` tells the place and the rule alone."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class AnswerSchema:
    """A schema that was checked: make it with `read_schema`.

    :ivar text: the schema as compact JSON, the same for schemas that say the same: see `read_schema`.
    :ivar strict: whether the endpoint is asked to keep to it strictly.
    """

    text: str
    name: str = "answer"
    strict: bool | None = None

    @property
    def on_the_wire(self) -> dict[str, Any]:
        """The field `response_format`."""
        if self.text == _ANY_OBJECT:
            return {"type": "json_object"}
        strict = {} if self.strict is None else {"strict": self.strict}
        return {"type": "json_schema", "json_schema": {"name": self.name, "schema": json.loads(self.text), **strict}}

    @property
    def instruction(self) -> str:
        """For the prompt, so that endpoints without `response_format` know it too."""
        return (
            "Write the answer as one JSON value that fits this JSON schema: no marks like [1] in it, nothing around "
            f"it.\n{self.text}"
        )

    def misfit(self, reply: str) -> Misfit | None:
        """What is wrong with a reply; None if it is JSON that fits."""
        try:
            value = _value(reply)
        except (ValueError, RecursionError) as error:
            return Misfit("it is no JSON", f"It is no JSON: {error}")
        try:
            broken = next(_validator(json.loads(self.text)).iter_errors(value), None)
        except (Unresolvable, RecursionError, ArithmeticError) as problem:
            return Misfit("it can't be checked: the schema's references or numbers have no end", type(problem).__name__)
        if broken is None:
            return None
        place = broken.json_path
        return Misfit(f"{place} breaks `{broken.validator}`", f"{place}: {broken.message}"[:DETAIL_CHARS])

    def mended(self, reply: str) -> str:
        """The reply without what stands around its JSON: the first value that fits, else the first there is."""
        said = reply.strip()
        there = [text for text in dict.fromkeys((said, unfenced(said), *_values_in(said))) if _is_json(text)]
        return next((text for text in there if self.misfit(text) is None), there[0] if there else said)


def read_schema(
    schema: Mapping[str, Any], where: str = "response_schema", *, name: str = "answer", strict: bool | None = None
) -> AnswerSchema:
    """Take a caller's schema (JSON Schema 2020-12).

    Keywords and definitions are put in order, so that the same schema is always the same text, and prompts that begin
    with it are found in a provider's prefix cache. Properties stay as they were: a model writes them in that order.

    :param where: its place in the request, for errors.
    :raises UsageError: if it is none, is too large, or uses what is not run here.
    """
    given = {key: value for key, value in schema.items() if key != "$schema"}
    dialect = str(schema.get("$schema", _DIALECTS[0])).rstrip("#")
    if dialect not in _DIALECTS:
        raise UsageError("it is of another dialect", where=f"{where}.$schema", remedy="Use JSON Schema 2020-12")
    try:
        text = json.dumps(_in_order(given), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"it is no JSON: {error}", where=where, remedy="Send a JSON schema") from None
    if len(text) > MAX_CHARS:
        raise UsageError(
            f"it has {len(text)} characters, {MAX_CHARS} are allowed", where=where, remedy="Ask for less at once"
        )
    _require_harmless(given, where, 0)
    try:
        Draft202012Validator.check_schema(given)
    except SchemaError as error:
        place = ".".join([where, *map(str, error.absolute_path)])
        raise UsageError(f"it is no JSON schema: {error.message[:200]}", where=place, remedy="Mend it") from None
    return AnswerSchema(text, name, strict)


def unfenced(text: str) -> str:
    """What stands in a code block that is all of the text; the text as it is where it is none."""
    fenced = _FENCE.match(text)
    return fenced.group(1) if fenced else text


def cleaned(answer: str, clean: Callable[[str], str]) -> str:
    """A JSON text with each string passed through `clean`; as it was where that changes nothing."""
    value = json.loads(answer)
    after = _mapped(value, clean)
    return answer if after == value else json.dumps(after, ensure_ascii=False)


def words_of(answer: str) -> str:
    """The strings of a JSON text, one a line."""
    found: list[str] = []
    _mapped(json.loads(answer), lambda text: found.append(text) or text)  # type: ignore[func-returns-value]
    return "\n".join(found)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(one, change) for one in value]
    if isinstance(value, dict):
        return {change(key): _mapped(one, change) for key, one in value.items()}
    return value


def _in_order(schema: Any, names: str = "") -> Any:
    """A schema with its keywords sorted; `names` is the keyword whose value it is where its keys are names."""
    if isinstance(schema, list):
        return [_in_order(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if names:
        keys = list(schema) if names == "properties" else sorted(schema)
        return {key: _in_order(schema[key]) for key in keys}
    return {
        key: schema[key] if key in _DATA else _in_order(schema[key], key if key in _NAMES else "")
        for key in sorted(schema)
    }


def _require_harmless(schema: Any, where: str, depth: int, names: bool = False) -> None:
    if depth > _MAX_DEPTH:
        raise UsageError(f"it is nested deeper than {_MAX_DEPTH}", where=where, remedy="Make it flatter")
    if isinstance(schema, list):
        for number, one in enumerate(schema):
            _require_harmless(one, f"{where}.{number}", depth + 1)
    if not isinstance(schema, dict):
        return
    for key, value in schema.items():
        place = f"{where}.{key}"
        if names:
            _require_harmless(value, place, depth + 1)
            continue
        if key in _REFUSED or key == "$schema":
            raise UsageError(f"`{key}` is not run here", where=place, remedy="Leave it out, or say it in `description`")
        if key == "$ref" and not (isinstance(value, str) and _REFERENCE.fullmatch(value)):
            raise UsageError("it points elsewhere", where=place, remedy="Refer to `#/$defs/NAME` of the same schema")
        if key not in _DATA:
            _require_harmless(value, place, depth + 1, key in _NAMES)


def _validator(schema: dict[str, Any]) -> Any:
    follow = Draft202012Validator.VALIDATORS["$ref"]
    left = _MAX_REFERENCES

    def counted(validator: Any, reference: str, instance: Any, where: Any) -> Iterator[ValidationError]:
        nonlocal left
        left -= 1
        if left < 0:
            raise RecursionError
        yield from follow(validator, reference, instance, where) or ()

    # a registry of its own: the default one fetches what it doesn't know
    return validators.extend(Draft202012Validator, {"$ref": counted})(schema, registry=Registry())


def _value(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _is_json(text: str) -> bool:
    try:
        _value(text)
    except (ValueError, RecursionError):
        return False
    return True


def _values_in(text: str) -> Iterator[str]:
    """Objects and lists that stand in a text, outermost only."""
    decoder, at = json.JSONDecoder(), 0
    for _ in range(_MAX_STARTS):
        start = _START.search(text, at)
        if start is None:
            return
        try:
            _, at = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            at = start.end()
        else:
            yield text[start.start() : at]


_ANY_OBJECT = '{"type":"object"}'
