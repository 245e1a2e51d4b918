"""Whose points a call may see. There is no call without one: a tenant never meets another's points."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """A tenant's collection."""

    tenant: str
    collection: str
