"""A document of a job: before it is read, and while somebody works on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from ragsaver.index.scope import Scope
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.sources import PostedDocument, SourceItem


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document of a job before it is read.

    :ivar text: its text, where the caller gave that.
    :ivar state: where it starts; with `staged` or `error` if that is not at the beginning.
    """

    source: str
    location: str | None = None
    version: str = ""
    format: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None
    checksum: bool = False
    state: State = State.QUEUED
    staged: bytes | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class QueuedDocument:
    """A document that somebody works on: `attempts` counts this one, `created_at` is when it was given."""

    id: str
    job_id: str
    scope: Scope
    source: str
    location: str | None
    version: str
    format: str | None
    metadata: Mapping[str, Any]
    text: str | None
    checksum: bool
    created_at: float
    attempts: int
    staged: bytes | None

    @classmethod
    def of(cls, row: sa.Row[Any]) -> "QueuedDocument":
        """As the store has it."""
        fields = row._mapping
        plain = (name for name in cls.__dataclass_fields__ if name != "scope")
        return cls(scope=Scope(fields["tenant"], fields["collection"]), **{name: fields[name] for name in plain})

    def item(self) -> SourceItem | None:
        """The document as it was posted; None if it is read from where it lies."""
        if self.text is None:
            return None
        return PostedDocument(self.source, self.text, self.format, self.metadata).item()
