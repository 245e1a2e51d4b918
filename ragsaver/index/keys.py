"""What a point's vectors and the index's own payload are called, alike in every engine: so points move between them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ragsaver.index.scope import Scope

if TYPE_CHECKING:  # it loads numpy, which processes that only cut documents do without
    from ragsaver.index.protocol import ChunkPoint

DENSE = "dense"
LEXICAL = "bm25"

SCOPE = "scope"
STATE = "state"
DOCUMENT_ID = "document_id"
GROUPS = "groups"

LISTED = "listed"
UNLISTED = "unlisted"


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


def payload_of(scope: Scope, point: "ChunkPoint") -> dict[str, Any]:
    """What a new point carries: it is unlisted."""
    return {**point.payload, SCOPE: scope_key(scope), STATE: UNLISTED, DOCUMENT_ID: point.document_id}


def change_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What a point may be given later: nothing moves it to another scope, or shows it."""
    return {key: value for key, value in payload.items() if key not in (SCOPE, STATE, DOCUMENT_ID)}
