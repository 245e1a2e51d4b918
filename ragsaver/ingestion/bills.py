"""What did the summaries of a job's documents cost? Written down section by section, before a summary is kept.

A section that is looked at again, after a crash or by another who brings its document in, adds only what it takes by
then: one that was made stays so, and its tokens are on the bill once. What calls cost is what the ledger charged for
them.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum

import sqlalchemy as sa

from ragsaver.database import Database
from ragsaver.dialects import insert, write_rows
from ragsaver.ingestion.asking import Tokens
from ragsaver.ingestion.job_tables import BILLED
from ragsaver.ingestion.job_tables import bills as _bills
from ragsaver.ingestion.job_tables import documents as _documents
from ragsaver.ingestion.report import SummarySpend
from ragsaver.ingestion.summarising import Charge, Summarised
from ragsaver.settings import SpendSettings
from ragsaver.spend.money import charged, dollars
from ragsaver.spend.prices import PriceBook


class _Outcome(StrEnum):
    """What became of a section."""

    MADE = "made"
    CACHED = "cached"
    LACKING = "lacking"


class Bills:
    """The bills in the job store's database. Made by the store."""

    def __init__(self, database: Database) -> None:
        self._writing = database.writing

    def add(self, model: str, charges: Sequence[Charge], documents: Mapping[str, str]) -> None:
        """Add what sections took; those of documents whose job was dropped are on no bill.

        :param model: that was asked.
        :param documents: of jobs, by the manifest's ids of the documents.
        """
        rows = {
            (documents[one.document_id], one.section): _row(one.took)
            for one in charges
            if one.document_id in documents and one.took != Summarised()
        }
        if not rows:
            return
        ids = {document for document, _ in rows}
        there = sa.select(_documents.c.id, _documents.c.job_id).where(_documents.c.id.in_(ids))
        there = there.order_by(_documents.c.id).with_for_update(read=True, key_share=True)
        with self._writing() as connection:
            jobs = {row.id: row.job_id for row in connection.execute(there)}
            told = [
                {"document_id": document, "section": section, "job_id": jobs[document], "model": model, **row}
                for (document, section), row in sorted(rows.items())
                if document in jobs
            ]
            new = insert(connection.dialect.name, _bills)
            outcome, coming = _bills.c.outcome, new.excluded
            first = outcome == _Outcome.LACKING
            added = ("calls", "input", "cached_input", "output", "cost")
            changed = {name: _bills.c[name] + coming[name] for name in added}
            changed |= {
                name: sa.case((first, coming[name]), else_=_bills.c[name]) for name in ("saved_input", "saved_output")
            }
            better = sa.or_(first, coming.outcome == _Outcome.MADE)
            changed["outcome"] = sa.case((better, coming.outcome), else_=outcome)
            write_rows(
                connection, new.on_conflict_do_update(index_elements=list(_bills.primary_key), set_=changed), told
            )


def summary_spend(connection: sa.Connection, job_id: str, prices: SpendSettings) -> SummarySpend:
    """What the summaries of a job took so far, as it was charged.

    :param prices: of what was saved, and of sections that an earlier version billed without their charge.
    """
    sums = (sa.func.sum(_bills.c[name]).label(name) for name in (*BILLED, "cost"))
    alike = (_bills.c.model, _bills.c.outcome, _bills.c.cost.is_(None))
    query = sa.select(*alike[:2], sa.func.count().label("sections"), *sums)
    query = query.where(_bills.c.job_id == job_id).group_by(*alike)
    rows = connection.execute(query).all()
    if not rows:
        return SummarySpend()
    book = PriceBook.of(prices)
    sections: defaultdict[str, int] = defaultdict(int)
    calls = tokens = 0
    cost = saved = Decimal(0)
    for row in rows:
        price = book.price(row.model)
        spent = Tokens(int(row.input), int(row.cached_input), int(row.output))
        sections[row.outcome] += row.sections
        calls += int(row.calls)
        tokens += spent.total
        if row.cost is None:
            cost += price.cost(input=spent.input, cached_input=spent.cached_input, output=spent.output)
        else:
            cost += dollars(int(row.cost))
        saved += price.cost(input=int(row.saved_input), output=int(row.saved_output))
    return SummarySpend(**sections, calls=calls, tokens=tokens, cost_usd=cost, saved_usd=saved)


def _row(took: Summarised) -> dict[str, str | int]:
    outcome = _Outcome.MADE if took.made else _Outcome.CACHED if took.cached else _Outcome.LACKING
    return {
        "outcome": outcome,
        "calls": took.calls,
        "input": took.tokens.input,
        "cached_input": took.tokens.cached_input,
        "output": took.tokens.output,
        "saved_input": took.saved.input + took.saved.cached_input,
        "saved_output": took.saved.output,
        "cost": charged(took.cost_usd),
    }
