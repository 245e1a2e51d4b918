"""Whose points a call may see. There is no call without one: a tenant never meets another's points."""

from collections.abc import Collection
from dataclasses import dataclass

from ragsaver.errors import UsageError

Reader = tuple[str, frozenset[str] | None] | None


@dataclass(frozen=True, slots=True)
class Scope:
    """A tenant's collection, and in whose name it is read.

    :ivar groups: that the reader is in; what names groups and none of these is not there for the call. None is a
        trusted caller, as ingestion is: it sees all of the collection.
    :raises UsageError: if it could be read as another's: a name is empty, or has a slash or what can't be printed.
    """

    tenant: str
    collection: str
    groups: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if not all(name.isprintable() and name and "/" not in name for name in (self.tenant, self.collection)):
            raise UsageError(
                f"{self.tenant!r} / {self.collection!r} can't name a tenant and a collection",
                remedy="Use letters, digits, dots, dashes and underscores",
            )

    @property
    def reader(self) -> Reader:
        """In whose name it is read: questions of others are told him by nothing that is remembered of theirs."""
        return self.tenant, self.groups

    def reads(self, groups: Collection[str]) -> bool:
        """Whether what names these groups may be read; none is everybody's."""
        return self.groups is None or not groups or not self.groups.isdisjoint(groups)
