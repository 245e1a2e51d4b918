"""What an ingestion embeds is charged by how far it is, not by what it just did: to charge it again changes nothing."""

from decimal import Decimal

import sqlalchemy as sa

from ragsaver.spend import window_rows
from ragsaver.spend.budgets import Account, windows_of
from ragsaver.spend.ledger import DONE, Call, Charge, Ledger, entry_of
from ragsaver.spend.money import MICRO, charged
from ragsaver.spend.tables import INGEST, entries
from ragsaver.spend.usage import TokenUsage


def charge_embedded(ledger: Ledger, account: Account, model: str, tokens: int, usd_per_mtok: Decimal) -> int:
    """Charge what was embedded on an account's request so far, less what is charged of it already; the micro-dollars.

    They count for all budgets, and refuse nothing: the tokens are embedded. All that is charged on a request is
    together what its tokens cost, rounded up once.

    :param tokens: all that were embedded, also those of earlier times.
    :raises StorageError: if the ledger can't be written; the next time charges this too.
    """
    of_request = sa.and_(
        entries.c.request_id == account.request_id, entries.c.tenant == account.tenant, entries.c.task == INGEST
    )
    now = ledger.clock()
    wanted = windows_of(account, now, ceiling=False)
    with ledger.using(wanted) as (connection, _):
        there = sa.select(sa.func.coalesce(sa.func.sum(entries.c.fresh), 0)).where(of_request)
        before = int(connection.scalar(there) or 0)
        if tokens <= before:
            return 0
        cost = charged(tokens * usd_per_mtok / MICRO) - charged(before * usd_per_mtok / MICRO)
        call = Call(INGEST, model, INGEST, 0, f"spend.embedding_per_mtok {usd_per_mtok:f}")
        charge = Charge(cost, TokenUsage(fresh=tokens - before), DONE)
        entry = entry_of(f"{account.request_id}-{tokens}", account, call, now, now, charge)
        connection.execute(sa.insert(entries), entry)
        window_rows.add(connection, wanted, spent=cost)
    return cost
