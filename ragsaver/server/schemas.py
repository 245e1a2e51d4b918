"""What clients send. Unknown fields are refused, so that a typo is not silently ignored."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from ragsaver.ingestion.order import Name
from ragsaver.ingestion.report import IngestReport, Progress
from ragsaver.ingestion.selection import DocumentSelection
from ragsaver.ingestion.turns import Priority


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QueryBody(_Body):
    """A question for a pipeline."""

    query: str
    collection: Name | None = None
    pipeline: Name | None = None
    stream: bool = False
    response_schema: dict[str, JsonValue] | None = Field(
        default=None, description="a JSON schema (2020-12); the answer is JSON that fits"
    )
    debug: bool = Field(default=False, description="tell what became of each passage; not with `stream`")

    @model_validator(mode="after")
    def _debug_comes_whole(self) -> "QueryBody":
        if self.debug and self.stream:
            raise ValueError("`debug` does not go with `stream`")
        return self


class SearchBody(_Body):
    """A search for passages."""

    query: str
    collection: Name | None = None
    top_k: int | None = Field(default=None, ge=1, le=1000)
    debug: bool = Field(default=False, description="tell what became of each passage")


class TurnBody(_Body):
    """What was said before."""

    role: Literal["user", "assistant"]
    content: str


class EstimateBody(_Body):
    """A question whose answer's cost is wanted."""

    query: str
    collection: Name | None = None
    pipeline: Name | None = None
    max_output_tokens: int | None = Field(default=None, ge=1, description="of the answer")
    history: list[TurnBody] = Field(default_factory=list, max_length=10_000, description="earlier turns, oldest first")
    response_schema: dict[str, JsonValue] | None = Field(
        default=None, description="a JSON schema (2020-12) that the answer is to fit"
    )


class DocumentBody(_Body):
    """One document as text."""

    source: str = Field(min_length=1, max_length=1024)
    text: str
    format: Literal["markdown", "text", "html"] = "markdown"
    metadata: dict[str, JsonValue] = Field(default_factory=dict, description="carried with its passages, not embedded")


class DocumentsBody(_Body):
    """Documents to ingest."""

    documents: list[DocumentBody] = Field(min_length=1, max_length=1000)
    collection: Name | None = None
    priority: Priority = Field(default=Priority.NORMAL, description="what workers do first; without workers no matter")


class LocalVerifyBody(_Body):
    """A scope to verify; with `vectors` its vectors are held against the embedding cache's, too."""

    collection: Name | None = None
    vectors: bool = False


class LocalOutlineBody(_Body):
    """A document to outline; `budget_tokens` is `outline.budget_tokens` if None."""

    source: str
    collection: Name | None = None
    budget_tokens: int | None = Field(default=None, ge=0, le=1_000_000)


class LocalDeleteBody(_Body):
    """Documents to remove."""

    selection: DocumentSelection
    dry_run: bool = False


class LocalExpireBody(_Body):
    """A collection whose retention is applied."""

    collection: Name | None = None
    dry_run: bool = False


class LocalHoldingsBody(_Body):
    """A collection to report on."""

    collection: Name | None = None
    cold_after_s: float | None = Field(default=None, ge=0)


class Health(BaseModel):
    """The answer of the probes."""

    status: Literal["ok", "ready"]


class Problem(BaseModel):
    """An RFC 9457 problem document; `where` and `remedy` say what to mend."""

    type: str = Field(
        default="about:blank", description="`urn:ragsaver:problem:…`; `about:blank` where the status says it all"
    )
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    problem: str | None = None
    where: str | None = None
    remedy: str | None = None
    retry_after_s: float | None = Field(default=None, description="seconds after which it may be tried again")
    cost_usd: float | None = Field(default=None, description="what the question cost all the same")


class IngestEvent(BaseModel):
    """One line of `POST /v1/local/ingest`: how far it is, or what came of it; a report beside a problem is of what
    was done all the same.
    """

    progress: Progress | None = None
    report: IngestReport | None = None
    problem: Problem | None = None
