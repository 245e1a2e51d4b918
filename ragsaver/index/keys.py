"""What a point's vectors and the index's own payload are called, alike in every engine: so points move between them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ragsaver.index.scope import Scope

if TYPE_CHECKING:  # it loads numpy, which processes that only cut documents do without
    from ragsaver.index.protocol import ChunkPoint, StoredPoint

DENSE = "dense"
LEXICAL = "bm25"

SCOPE = "scope"
LISTED_IN = "listed_in"
DOCUMENT_ID = "document_id"
GROUPS = "groups"
METADATA = "metadata"
PAGE_STARTS = "page_starts"

# What is left out of a point that has nothing to say of it.
NOTHING: Mapping[str, Any] = {METADATA: {}, GROUPS: [], PAGE_STARTS: []}

_OWN = frozenset((SCOPE, LISTED_IN, DOCUMENT_ID))

# Earlier versions said so with two keys: whose a point is, and this one.
EARLIER_STATE, EARLIER_LISTED = "state", "listed"


def scope_key(scope: Scope) -> str:
    """A tenant's collection in one word; neither name has a slash."""
    return f"{scope.tenant}/{scope.collection}"


def scopes_of(keys: Mapping[str, int]) -> list[Scope]:
    """The scopes that have points, in order; `keys` counts points by scope key."""
    pairs = [key.split("/", 1) for key, points in keys.items() if points]
    found = [Scope(tenant, collection) for tenant, collection in pairs]
    return sorted(found, key=lambda scope: (scope.tenant, scope.collection))


def sees(scope: Scope, payload: Mapping[str, Any] | None) -> bool:
    """Whether a point that carries this is there for a call: the scope's, and of no groups or of one of its own."""
    return payload is not None and payload.get(SCOPE) == scope_key(scope) and scope.reads(payload.get(GROUPS) or ())


def is_listed(scope: Scope, payload: Mapping[str, Any] | None) -> bool:
    """Whether questions find a point that carries this."""
    return payload is not None and payload.get(LISTED_IN) == scope_key(scope)


def shown_in(scope: Scope) -> dict[str, str]:
    """What lists a point."""
    return {LISTED_IN: scope_key(scope)}


def payload_of(scope: Scope, point: "ChunkPoint") -> dict[str, Any]:
    """What a new point carries: it is unlisted."""
    carried = change_of(point.payload)
    carried[SCOPE], carried[DOCUMENT_ID] = scope_key(scope), point.document_id
    return carried


def payload_in(scope: Scope, point: "StoredPoint") -> dict[str, Any]:
    """What a point of another index carries in this one: it is listed if it was."""
    shown = shown_in(scope) if LISTED_IN in point.payload else {}
    return {**point.payload, SCOPE: scope_key(scope), **shown}


def change_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What a point may be given later: nothing moves it to another scope, or shows it."""
    carried = dict(payload)
    for key in _OWN:
        carried.pop(key, None)
    return carried
