"""Whose points a call may see. There is no call without one: a tenant never meets another's points."""

from dataclasses import dataclass

from ragsaver.errors import UsageError


@dataclass(frozen=True, slots=True)
class Scope:
    """A tenant's collection.

    :raises UsageError: if it could be read as another's: a name is empty, or has a slash or what can't be printed.
    """

    tenant: str
    collection: str

    def __post_init__(self) -> None:
        if not all(name.isprintable() and name and "/" not in name for name in (self.tenant, self.collection)):
            raise UsageError(
                f"{self.tenant!r} / {self.collection!r} can't name a tenant and a collection",
                remedy="Use letters, digits, dots, dashes and underscores",
            )
