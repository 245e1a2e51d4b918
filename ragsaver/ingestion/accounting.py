"""What did a run do, and what did it cost? Added up while it goes, told as its report and receipt."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from ragsaver.errors import BudgetExceeded
from ragsaver.ingestion.applying import Embedded, Paid
from ragsaver.ingestion.estimating import MILLION, told_expiries
from ragsaver.ingestion.gates import Seen
from ragsaver.ingestion.losses import told_before, told_notes
from ragsaver.ingestion.notes import Note
from ragsaver.ingestion.report import (
    ChunkCounts,
    DocumentCounts,
    EmbeddingSpend,
    IngestReport,
    SummarySpend,
)
from ragsaver.ingestion.retention import Expiry
from ragsaver.ingestion.summarising import Summarised
from ragsaver.settings import SpendSettings
from ragsaver.spend.money import usd_of_tokens
from ragsaver.spend.price import Price
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.receipt import OpenReceipt, Receipt

# Kinds of files that are told by name; the others are told together.
_KINDS = 10
_OTHERS = "other"

_STAGE = "outline"


@dataclass(slots=True)
class Tally:
    """What became of the changes.

    :ivar waiting: sources of those that a budget `refused`.
    """

    added: int = 0
    changed: int = 0
    deleted: int = 0
    total: int = 0
    dropped: int = 0
    expired: list[Expiry] = field(default_factory=list)
    notes: list[tuple[str, Sequence[Note]]] = field(default_factory=list)
    paid: Paid = field(default_factory=Paid)
    waiting: list[str] = field(default_factory=list)
    refused: BudgetExceeded | None = None

    def add(self, embedded: Embedded) -> None:
        """Count a batch."""
        self.paid += embedded.paid
        for change in embedded.batch:
            self.added += change.old is None
            self.changed += change.old is not None
            self.total += len(change.chunks)
            self.dropped += len(change.dropped)
            if change.notes:
                self.notes.append((change.record.source, change.notes))


def report_of(
    seen: Seen,
    tally: Tally,
    noted: Mapping[str, Sequence[Note]],
    prices: SpendSettings,
    summary_model: str | None,
    seconds: float,
) -> IngestReport:
    """The report of a run.

    :param noted: what documents that are in have lost, by source.
    :param summary_model: what summarises sections, if anything does.
    """
    paid = tally.paid
    receipt = _receipt(paid, prices, summary_model)
    return IngestReport(
        documents=DocumentCounts(
            seen=seen.documents,
            added=tally.added,
            changed=tally.changed,
            unchanged=seen.unchanged,
            deleted=tally.deleted + len(tally.expired),
            failed=len(seen.errors),
            tombstoned=seen.tombstoned,
            vanished=len(seen.vanished),
            waiting=len(tally.waiting),
        ),
        chunks=ChunkCounts(
            total=seen.unchanged_chunks + tally.total,
            embedded=paid.embedded,
            reused=tally.total - paid.embedded,
            deleted=tally.dropped + sum(len(expiry.document.record.chunks) for expiry in tally.expired),
        ),
        embedding=embedding_spend({paid.embedded_tokens: 1}, paid.cached_tokens, prices),
        summaries=SummarySpend(
            made=paid.summaries.made,
            cached=paid.summaries.cached,
            lacking=paid.summaries.lacking,
            calls=paid.summaries.calls,
            tokens=paid.summaries.tokens.total,
            cost_usd=sum((line.cost_usd for line in receipt.lines if line.stage == _STAGE), Decimal(0)),
            saved_usd=sum((line.saved_usd for line in receipt.lines if line.stage == _STAGE), Decimal(0)),
        ),
        seconds=round(seconds, 3),
        errors=tuple(seen.errors),
        expired=told_expiries(tally.expired),
        receipt=receipt,
        **told_notes(tally.notes),
        noted_before=told_before(noted, seen.kept),
    )


def embedding_spend(charged: Mapping[int, int], cached_tokens: int, prices: SpendSettings) -> EmbeddingSpend:
    """What embedding cost, as the ledger has it, and what it would have cost beside that if nothing had been embedded
    before.

    :param charged: how many runs or documents are charged for so many tokens each.
    """
    price = prices.embedding_per_mtok
    return EmbeddingSpend(
        tokens=sum(tokens * number for tokens, number in charged.items()),
        cost_usd=sum((usd_of_tokens(tokens, price) * number for tokens, number in charged.items()), Decimal(0)),
        cached_tokens=cached_tokens,
        saved_usd=cached_tokens * price / MILLION,
    )


def told_kinds(passed_over: Mapping[str, int]) -> dict[str, int]:
    """Files by suffix, the most frequent ones by name and the others together."""
    ranked = Counter(passed_over).most_common()
    rest = sum(count for _, count in ranked[_KINDS:])
    return dict(ranked[:_KINDS]) | ({_OTHERS: rest} if rest else {})


def _receipt(paid: Paid, prices: SpendSettings, summary_model: str | None) -> Receipt:
    """What the run cost, and what the caches saved; the baseline embeds and summarises every text again."""
    receipt = OpenReceipt()
    took = embedding_spend({paid.embedded_tokens: 1}, paid.cached_tokens, prices)
    if paid.embedded:
        receipt.add("embed", "texts embedded", took.tokens, "tokens", cost_usd=took.cost_usd)
    if paid.cached:
        receipt.add(
            "embed",
            "embedding cache",
            took.cached_tokens,
            "tokens",
            saved_usd=took.saved_usd,
            reason=f"{paid.cached} texts were embedded before",
        )
    if summary_model is not None and paid.summaries != Summarised():
        book = PriceBook.of(prices)
        receipt.prices = book.told()
        _add_summaries(receipt, paid.summaries, book.price(summary_model))
    return receipt.close()


def _add_summaries(receipt: OpenReceipt, taken: Summarised, price: Price) -> None:
    spent, saved = taken.tokens, taken.saved
    if spent.total or taken.cost_usd:
        receipt.count(input=spent.input, cached_input=spent.cached_input, output=spent.output)
        receipt.add(
            _STAGE,
            price.model,
            spent.total,
            "tokens",
            cost_usd=taken.cost_usd,
            reason=f"{taken.made} sections summarised, price by {price.origin}",
        )
    if taken.cached:
        receipt.add(
            _STAGE,
            "summary cache",
            saved.total,
            "tokens",
            saved_usd=price.cost(input=saved.input, cached_input=saved.cached_input, output=saved.output),
            reason=f"{taken.cached} sections were summarised before",
        )
    if taken.lacking:
        receipt.add(
            _STAGE,
            "sections without a summary",
            taken.lacking,
            "sections",
            reason=f"{taken.problem}; the next ingestion tries them again",
        )
