"""How the embedded engine keeps what points carry: what filters name as it is, and all else as one text.

To take a value over from Python costs the engine as long for each word of metadata as for a whole text, and half of all
that writing a point takes was that.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import from_json

from ragsaver.index.keys import GROUPS, LISTED_IN, SCOPE

_REST = "packed"
_FILTERED = (SCOPE, GROUPS)
_JSON = TypeAdapter(dict[str, Any]).serializer


def packed(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What the engine is given. Whether a point is listed is not kept with it."""
    rest = dict(payload)
    rest.pop(LISTED_IN, None)
    given = {key: rest.pop(key) for key in _FILTERED if key in rest}
    given[_REST] = _JSON.to_json(rest).decode()
    return given


def unpacked(payload: Mapping[str, Any] | None) -> dict[str, Any]:
    """What was carried; an earlier version's point carries it as it is, and what was changed since in the text."""
    carried = dict(payload or {})
    rest = carried.pop(_REST, None)
    if rest is not None:
        carried |= from_json(rest)
    return carried
