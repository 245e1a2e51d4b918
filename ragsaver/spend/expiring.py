"""What is an attempt charged that nobody settled in time? All that it held: its endpoint may have billed it."""

from types import SimpleNamespace

import sqlalchemy as sa

from ragsaver.spend.tables import INGEST, entries, of_ingestion
from ragsaver.spend.usage import TokenUsage


def worst_of(connection: sa.Connection, leased: SimpleNamespace) -> tuple[int, TokenUsage]:
    """Micro-dollars and tokens of a lease that is over; asked in the transaction that takes it.

    An ingestion's is charged nothing where somebody went on with its document since: that one's bill has all that was
    embedded, and was charged whole.
    """
    if leased.task == INGEST and _went_on(connection, leased):
        return 0, TokenUsage(estimated=True)
    return leased.held, TokenUsage(fresh=leased.prompt_tokens, output=leased.output_tokens, estimated=True)


def _went_on(connection: sa.Connection, leased: SimpleNamespace) -> bool:
    same = of_ingestion(entries, leased.tenant, leased.request_id)
    later = sa.select(entries.c.id).where(*same, entries.c.reserved_at > leased.reserved_at, entries.c.fresh > 0)
    return connection.execute(later.limit(1)).first() is not None
