"""What an ingestion embeds is reserved before, and charged by how far it is: to charge it again changes nothing.

A request is a run, or a document of a job. All that is charged on it is together what its tokens cost, rounded up once,
whoever embedded them: what one attempt held pays for what the next one finds on the bill.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from ragsaver.dialects import lock_rows
from ragsaver.spend import window_rows
from ragsaver.spend.budgets import Account, Hold, Window, choose, windows_of
from ragsaver.spend.ledger import DONE, Call, Charge, Lease, Ledger, entry_of, keep
from ragsaver.spend.money import MICRO, charged
from ragsaver.spend.tables import INGEST, entries, leases, of_ingestion
from ragsaver.spend.usage import TokenUsage

# A batch that takes longer than this is charged meanwhile, and not again once it is done.
LASTS_S = 900.0

_WHAT = "the next batch of texts"


def reserve_embedding(
    ledger: Ledger, tokens: Mapping[Account, int], model: str, usd_per_mtok: Decimal
) -> dict[Account, Lease]:
    """Keep back what embedding costs, of all accounts in one step or of none; a lease for each.

    :param tokens: that are about to be embedded on each account's request.
    :raises BudgetExceeded: if a budget has no room for it.
    :raises StorageError: if the ledger can't be written.
    """
    ledger.expire_due()
    now = ledger.clock()
    wanted = {account: windows_of(account, now, ceiling=False) for account in tokens}
    every = _each(wanted.values())
    limits = {window.id: limit for window in every if (limit := ledger.budgets.limit(window)) is not None}
    made: dict[Account, Lease] = {}
    with ledger.using(every) as (connection, found):
        standings = {one.window.id: one for one in found}
        for account, count in tokens.items():
            mine = [standings[window.id] for window in wanted[account]]
            hold = choose(mine, limits, Hold(charged(count * usd_per_mtok / MICRO), 0), None, now, _WHAT)
            for one in mine:
                standings[one.window.id] = replace(one, reserved=one.reserved + hold.cost)
            window_rows.add(connection, wanted[account], reserved=hold.cost)
            made[account] = Lease(uuid.uuid4().hex, account, _call(model, count, usd_per_mtok), hold, now)
            keep(connection, made[account], LASTS_S)
    return made


def charge_embedded(
    ledger: Ledger, account: Account, model: str, tokens: int, usd_per_mtok: Decimal, own: Sequence[Lease] = ()
) -> int:
    """Charge what was embedded on an account's request so far, less what is charged of it already; the micro-dollars.

    It is paid from what was held for it, by this attempt or, where the bill has more, by one that never came back. What
    nobody held is charged all the same: it is embedded.

    :param tokens: all that were embedded, also those of earlier times.
    :param own: leases that end with this.
    :raises StorageError: if the ledger can't be written; the next time charges this too.
    """
    now = ledger.clock()
    call = _call(model, 0, usd_per_mtok)
    current = windows_of(account, now, ceiling=False)
    while True:
        with ledger.database.writing() as connection:
            held = _held(connection, account, [lease.id for lease in own])
            of_each = [windows_of(_account(one), one.reserved_at, ceiling=False) for one in held]
            every = _each([current, *of_each])
            if len(window_rows.locked(connection, every)) == len(every):
                before = at = _charged_tokens(connection, account)
                ours = len({lease.id for lease in own} & {one.id for one in held})
                for number, (one, windows) in enumerate(zip(held, of_each, strict=True)):
                    paid = min(max(tokens - at, 0), one.prompt_tokens)
                    if not paid and number >= ours:
                        break  # of an attempt that may be under way
                    connection.execute(sa.delete(leases).where(leases.c.id == one.id))
                    window_rows.add(connection, windows, reserved=-one.held)
                    _pay(connection, one.id, _account(one), call, one.reserved_at, now, at, at + paid, usd_per_mtok)
                    at += paid
                if at < tokens:
                    _pay(
                        connection, f"{account.request_id}-{tokens}", account, call, now, now, at, tokens, usd_per_mtok
                    )
                return _cost(before, max(tokens, before), usd_per_mtok)
        with ledger.database.writing() as connection:
            window_rows.make(connection, every)


def _pay(
    connection: sa.Connection,
    name: str,
    account: Account,
    call: Call,
    reserved_at: float,
    now: float,
    before: int,
    after: int,
    usd_per_mtok: Decimal,
) -> None:
    """The entry of the tokens from one to another, if there are any."""
    if after > before:
        cost = _cost(before, after, usd_per_mtok)
        charge = Charge(cost, TokenUsage(fresh=after - before), DONE)
        connection.execute(sa.insert(entries), entry_of(name, account, call, reserved_at, now, charge))
        window_rows.add(connection, windows_of(account, reserved_at, ceiling=False), spent=cost)


def _cost(before: int, after: int, usd_per_mtok: Decimal) -> int:
    return charged(after * usd_per_mtok / MICRO) - charged(before * usd_per_mtok / MICRO)


def _call(model: str, tokens: int, usd_per_mtok: Decimal) -> Call:
    return Call(INGEST, model, INGEST, tokens, f"spend.embedding_per_mtok {usd_per_mtok:f}")


def _held(connection: sa.Connection, account: Account, own: Sequence[str]) -> list[Any]:
    """The leases of a request, one's own first and the others from the oldest on."""
    there = lock_rows(connection, leases, leases.c.id, *of_ingestion(leases, account.tenant, account.request_id))
    return sorted(there, key=lambda one: (one.id not in own, one.reserved_at))


def _account(lease: SimpleNamespace) -> Account:
    return Account(lease.tenant, lease.principal, lease.pipeline, lease.request_id)


def _charged_tokens(connection: sa.Connection, account: Account) -> int:
    sum_of = sa.select(sa.func.coalesce(sa.func.sum(entries.c.fresh), 0)).where(
        *of_ingestion(entries, account.tenant, account.request_id)
    )
    return int(connection.scalar(sum_of) or 0)


def _each(some: Any) -> list[Window]:
    return list({window.id: window for windows in some for window in windows}.values())
