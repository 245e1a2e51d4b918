"""What a point's vectors and the index's own payload are called, alike in every engine: so points move between them."""

from collections.abc import Mapping
from typing import Any

from ragsaver.errors import UsageError
from ragsaver.index.protocol import ChunkPoint
from ragsaver.index.scope import Scope

DENSE = "dense"
LEXICAL = "bm25"

SCOPE = "scope"
STATE = "state"
DOCUMENT_ID = "document_id"

LISTED = "listed"
UNLISTED = "unlisted"


def scope_key(scope: Scope) -> str:
    """A tenant's collection in one word.

    :raises UsageError: if it could be read as another's.
    """
    if not scope.tenant or not scope.collection or "/" in scope.tenant or "/" in scope.collection:
        raise UsageError(
            f"`{scope.tenant}` / `{scope.collection}` can't name a tenant and a collection",
            remedy="Use letters, digits, dots, dashes and underscores",
        )
    return f"{scope.tenant}/{scope.collection}"


def scopes_of(keys: Mapping[str, int]) -> list[Scope]:
    """The scopes that have points, in order; `keys` counts points by scope key."""
    found = [Scope(*key.split("/", 1)) for key, points in keys.items() if points]
    return sorted(found, key=lambda scope: (scope.tenant, scope.collection))


def payload_of(scope: Scope, point: ChunkPoint) -> dict[str, Any]:
    """What a new point carries: it is unlisted."""
    return {**point.payload, SCOPE: scope_key(scope), STATE: UNLISTED, DOCUMENT_ID: point.document_id}
