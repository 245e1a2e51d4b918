"""How far is a job? In the shape that scripts read."""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from ragsaver.ingestion.notes import NoteCode
from ragsaver.ingestion.report import EmbeddingSpend, IngestFailure, IngestNote, SummarySpend
from ragsaver.ingestion.turns import Priority


class State(StrEnum):
    """Where a document is; it only moves forward.

    `failed` can't be read, however often it is tried; `dead` was tried as often as the settings allow.
    """

    QUEUED = "queued"
    CONVERTED = "converted"
    EMBEDDED = "embedded"
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    DEAD = "dead"


WAITING = (State.QUEUED, State.CONVERTED, State.EMBEDDED)
LOST = (State.FAILED, State.DEAD)


class JobState(StrEnum):
    """Where a job is; `incomplete` is done, without the documents that failed or are dead."""

    LISTING = "listing"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    INCOMPLETE = "incomplete"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JobDocuments(_Frozen):
    """Documents of a job by where they are."""

    seen: int = 0
    queued: int = 0
    converted: int = 0
    embedded: int = 0
    applied: int = 0
    unchanged: int = 0
    failed: int = 0
    dead: int = 0


class JobDocument(_Frozen):
    """One document of a job. `error` is the last one, which a later attempt may have mended."""

    source: str
    state: State
    attempts: int = 0
    error: str | None = None


class DeadDocument(_Frozen):
    """A document that was tried as often as the settings allow; `died_at` is in seconds since 1970."""

    job_id: str
    collection: str
    source: str
    attempts: int
    error: str
    died_at: float


class JobReport(_Frozen):
    """A job. `progress` is a page of its documents; `errors` are those that did not go in; `waiting` are the first
    hundred that could not go on yet, and why: after an error, or since a budget has no room for them.

    `passed_over` are files of kinds that can't be read, by suffix. `notes` and `noted` are those of `IngestReport`, of
    the documents that are in by now.
    """

    job_id: str
    collection: str
    priority: Priority
    state: JobState
    created_at: float
    documents: JobDocuments = JobDocuments()
    embedding: EmbeddingSpend = EmbeddingSpend()
    summaries: SummarySpend = SummarySpend()
    passed_over: dict[str, int] = {}
    progress: tuple[JobDocument, ...] = ()
    errors: tuple[IngestFailure, ...] = ()
    waiting: tuple[IngestFailure, ...] = ()
    notes: tuple[IngestNote, ...] = ()
    noted: dict[NoteCode, int] = {}

    @property
    def finished(self) -> bool:
        """Whether nothing of it waits any more."""
        return self.state in (JobState.DONE, JobState.INCOMPLETE)


def counted(by_state: Mapping[State, int]) -> JobDocuments:
    """The counts by name."""
    return JobDocuments(seen=sum(by_state.values()), **{state.value: count for state, count in by_state.items()})


def job_state(documents: JobDocuments, *, listed: bool) -> JobState:
    """Where a job is, by where its documents are.

    :param listed: whether all its documents are known.
    """
    if not listed:
        return JobState.LISTING
    if documents.queued + documents.converted + documents.embedded:
        return JobState.QUEUED if documents.queued == documents.seen else JobState.RUNNING
    return JobState.INCOMPLETE if documents.failed or documents.dead else JobState.DONE
