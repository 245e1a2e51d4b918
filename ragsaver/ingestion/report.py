"""What an ingestion did, in the shape that scripts read."""

from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from ragsaver.ingestion.notes import NoteCode
from ragsaver.ingestion.outlines import OutlineLine
from ragsaver.spend.receipt import ZERO, Receipt, Usd


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Progress(_Frozen):
    """How far a run is: documents done of how many, chunks embedded."""

    done: int
    total: int
    embedded: int


class DocumentCounts(_Frozen):
    """Documents by what became of them; `tombstoned` ones stay out, because retention took them out before;
    `vanished` ones were removed after they had been listed, and stay in as they were until a run prunes; `waiting` ones
    stay as they were since a budget has no room for what they embed.
    """

    seen: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    failed: int = 0
    tombstoned: int = 0
    vanished: int = 0
    waiting: int = 0


class ChunkCounts(_Frozen):
    """Chunks of the documents seen; `total` is what they hold now."""

    total: int = 0
    embedded: int = 0
    reused: int = 0
    deleted: int = 0


class EmbeddingSpend(_Frozen):
    """What embedding took. `saved_usd` is what texts that had been embedded before would have cost."""

    tokens: int = 0
    cost_usd: Usd = ZERO
    cached_tokens: int = 0
    saved_usd: Usd = ZERO


class SummarySpend(_Frozen):
    """Sections that a language model summarised: now, before, and those that it did not; their tokens are billed.

    `calls` are those of the model, failed ones too; `cost_usd` is what the ledger charged for them. `saved_usd` is what
    the cached ones would have cost at the prices of now.
    """

    made: int = 0
    cached: int = 0
    lacking: int = 0
    calls: int = 0
    tokens: int = 0
    cost_usd: Usd = ZERO
    saved_usd: Usd = ZERO


class IngestFailure(_Frozen):
    """A document that did not go in, and why."""

    source: str
    error: str


class IngestNote(_Frozen):
    """What a document that went in lost on its way: a code for scripts, a sentence for people, and where in it."""

    source: str
    code: NoteCode
    note: str
    where: str = ""


class NotedBefore(_Frozen):
    """Documents that were left as they are and lost something when they went in: how many, the first hundred notes, and
    documents by code.
    """

    documents: int = 0
    notes: tuple[IngestNote, ...] = ()
    noted: dict[NoteCode, int] = {}


class ExpiredDocument(_Frozen):
    """A document that retention took out, and why."""

    source: str
    reason: str


class IngestReport(_Frozen):
    """One run of ingestion. `receipt` says what it cost, and what was not paid for again.

    `expired` documents are counted as deleted. `passed_over` are files of kinds that can't be read, by suffix.
    `replaced` are names under which a posted text took the place of what was read from a file, store or page, or the
    other way. `notes` say what is missing of the documents that were brought in, the first hundred; `noted` counts
    documents by code; `noted_before` are those of documents that were left as they are.
    """

    documents: DocumentCounts = DocumentCounts()
    chunks: ChunkCounts = ChunkCounts()
    embedding: EmbeddingSpend = EmbeddingSpend()
    summaries: SummarySpend = SummarySpend()
    seconds: float = 0.0
    errors: tuple[IngestFailure, ...] = ()
    expired: tuple[ExpiredDocument, ...] = ()
    passed_over: dict[str, int] = {}
    replaced: tuple[str, ...] = ()
    notes: tuple[IngestNote, ...] = ()
    noted: dict[NoteCode, int] = {}
    noted_before: NotedBefore = NotedBefore()
    receipt: Receipt = Receipt()


class PlannedDocuments(_Frozen):
    """Documents by what would become of them; `access` are those that others may read from then on."""

    seen: int = 0
    new: int = 0
    edited: int = 0
    stale: int = 0
    carried: int = 0
    access: int = 0
    unchanged: int = 0
    deleted: int = 0
    failed: int = 0
    tombstoned: int = 0
    vanished: int = 0


class PlannedChunks(_Frozen):
    """Chunks by what would become of them. `cached` ones are new to their document and have been embedded before."""

    unchanged: int = 0
    embed: int = 0
    cached: int = 0
    move: int = 0
    delete: int = 0


class PlannedEmbedding(_Frozen):
    """What embedding would take; `seconds` by the speed measured on this machine, None where that is not known."""

    tokens: int = 0
    seconds: float | None = None
    cost_usd: Usd = ZERO


class PlannedSummaries(_Frozen):
    """Sections that a language model would be asked for, and the most that this would take."""

    sections: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Usd = ZERO


class PlannedRefusal(_Frozen):
    """A budget that has no room for all of it as things stand; what is left of it, and when it begins anew."""

    budget: str
    remaining_usd: Usd
    resets_at: str


class PlannedChange(_Frozen):
    """One document that would change, and why."""

    source: str
    reason: str
    embed: int = 0
    cached: int = 0
    move: int = 0
    delete: int = 0


class PlanReport(_Frozen):
    """What an ingestion would do, before anything is spent.

    `expired`, `notes`, `noted` and `noted_before` are as its report has them; `expired` ones are counted as deleted.
    `refused` names the budget that would let some of the documents wait.
    """

    documents: PlannedDocuments = PlannedDocuments()
    chunks: PlannedChunks = PlannedChunks()
    embedding: PlannedEmbedding = PlannedEmbedding()
    summaries: PlannedSummaries = PlannedSummaries()
    refused: PlannedRefusal | None = None
    changes: tuple[PlannedChange, ...] = ()
    errors: tuple[IngestFailure, ...] = ()
    expired: tuple[ExpiredDocument, ...] = ()
    passed_over: dict[str, int] = {}
    notes: tuple[IngestNote, ...] = ()
    noted: dict[NoteCode, int] = {}
    noted_before: NotedBefore = NotedBefore()

    @property
    def cost_usd(self) -> Decimal:
        """All that the ingestion would cost."""
        return self.embedding.cost_usd + self.summaries.cost_usd


class OutlineReport(_Frozen):
    """A document's outline; `text` shows it within its budget of tokens, `lines` are all there are."""

    source: str
    title: str
    text: str
    lines: tuple[OutlineLine, ...]


class VerifyReport(_Frozen):
    """Manifest against index.

    `readers` are points that others could read than their documents name, `altered` ones carry something else than
    their documents say. `vectors` is how many vectors were held against the embedding cache's.
    """

    documents: int = 0
    points: int = 0
    missing: int = 0
    orphaned: int = 0
    readers: int = 0
    altered: int = 0
    vectors: int = 0
    repaired: int = 0
