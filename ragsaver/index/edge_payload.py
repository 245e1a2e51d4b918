"""How the embedded engine keeps what points carry: what filters name as it is, and all else as one text.

To take a value over from Python costs the engine as long for each word of metadata as for a whole text, and half of all
that writing a point takes was that.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from ragsaver.index.keys import DOCUMENT_ID, GROUPS, LISTED_IN, SCOPE
from ragsaver.index.protocol import ChunkPoint

_REST = "packed"
_FILTERED = (SCOPE, GROUPS)
_NOT_PACKED = frozenset((SCOPE, GROUPS, LISTED_IN, DOCUMENT_ID))
_JSON = TypeAdapter(dict[str, Any])


def packed(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What the engine is given. Whether a point is listed is not kept with it."""
    given: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in payload.items():
        if key != LISTED_IN:
            (given if key in _FILTERED else rest)[key] = value
    given[_REST] = _JSON.dump_json(rest).decode()
    return given


def packed_new(key: str, point: ChunkPoint) -> dict[str, Any]:
    """The same of a point that is written for the first time, in one go.

    :param key: its scope's.
    """
    rest = {name: value for name, value in point.payload.items() if name not in _NOT_PACKED}
    rest[DOCUMENT_ID] = point.document_id
    given = {SCOPE: key, _REST: _JSON.dump_json(rest).decode()}
    if groups := point.payload.get(GROUPS):
        given[GROUPS] = groups
    return given


def unpacked(payload: Mapping[str, Any] | None) -> dict[str, Any]:
    """What was carried; an earlier version's point carries it as it is, and what was changed since in the text."""
    carried = dict(payload or {})
    rest = carried.pop(_REST, None)
    return {**carried, **_JSON.validate_json(rest)} if rest is not None else carried
