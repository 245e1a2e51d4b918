"""In whose name a request is made: tenant, groups and principal, and what it may do. Never from the request itself."""

from dataclasses import dataclass
from enum import StrEnum

from ragsaver.errors import Forbidden


class Permission(StrEnum):
    """What a key is for."""

    QUERY = "query"
    INGEST = "ingest"
    ADMIN = "admin"


ALL = frozenset(Permission)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks.

    :ivar groups: that it reads in the name of.
    :ivar principal: the name that its spending is noted under; None is the settings' own user.
    :ivar key_id: of the key that it has shown; None if it needed none.
    :ivar pipelines: that it may ask, the usual one first; None allows all.
    :ivar trusted: it has shown the token of the user who runs the server.
    """

    tenant: str
    groups: frozenset[str]
    principal: str | None = None
    key_id: str | None = None
    permissions: frozenset[Permission] = ALL
    pipelines: tuple[str, ...] | None = None
    trusted: bool = False

    def require(self, *permissions: Permission) -> None:
        """Stop one that has none of these.

        :raises Forbidden: saying which it would need.
        """
        if self.permissions.isdisjoint(permissions):
            raise Forbidden(
                f"this key is not for that: it would need {' or '.join(permissions)}",
                remedy="Use another key, or let the operator make one: ragsaver keys create --scopes",
            )

    def pipeline(self, wanted: str | None) -> str | None:
        """The pipeline to ask; None is the settings' own.

        :raises Forbidden: if it may not ask that one.
        """
        if self.pipelines is None:
            return wanted
        if wanted is None:
            return self.pipelines[0]
        if wanted not in self.pipelines:
            raise Forbidden(
                f"this key may not ask the pipeline `{wanted}`", remedy=f"Ask one of these: {', '.join(self.pipelines)}"
            )
        return wanted
