"""What was spent, by whom and on what; what budgets have left; and what the same would cost by another price book."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from ragsaver.addresses import without_password
from ragsaver.settings import RerankSettings, Settings
from ragsaver.spend.budgets import PERIODS, Account, Window, period_at
from ragsaver.spend.ledger import EXPIRED, UNKNOWN, Ledger
from ragsaver.spend.money import charged, dollars
from ragsaver.spend.price import Price
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.receipt import ZERO, PricedBy, Receipt, Usd
from ragsaver.spend.tables import INGEST, entries, receipts, windows
from ragsaver.spend.usage import TokenUsage
from ragsaver.timestamps import iso

PricesOf = Literal["now", "call"]
By = Literal["tenant", "principal", "pipeline", "tier", "model", "task", "outcome"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UsageLine(_Frozen):
    """What one of them spent; `calls` are attempts."""

    name: str
    calls: int
    fresh: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int
    cost_usd: Usd
    saved_usd: Usd


class UsageReport(_Frozen):
    """Spending since a moment, the dearest first; the lines add up to the total."""

    since: str
    by: str
    total: UsageLine
    lines: tuple[UsageLine, ...]


class BudgetLine(_Frozen):
    """How far one budget is used up in its period; `held_usd` is kept back for calls that run."""

    scope: str
    name: str
    period: str
    limit_usd: Usd
    spent_usd: Usd
    held_usd: Usd
    remaining_usd: Usd
    resets_at: str


class BudgetsReport(_Frozen):
    """All budgets that are for all or for one, and those for each: of whoever has spent this month, or asks."""

    budgets: tuple[BudgetLine, ...]


class KeptReceipt(_Frozen):
    """A receipt that was kept.

    :ivar complete: whether there was an answer.
    """

    request_id: str
    tenant: str
    principal: str | None
    pipeline: str | None
    at: str
    complete: bool
    receipt: Receipt


class RepricedLine(_Frozen):
    """What one model cost, and would have by the book of now."""

    model: str
    calls: int
    charged_usd: Usd
    repriced_usd: Usd
    difference_usd: Usd
    books: tuple[str, ...]


class RepriceReport(_Frozen):
    """All charges by another book; the ledger stays as it is.

    :ivar prices_of: `now`, or `call`: those that hold when the call was made.
    """

    since: str
    book: str
    prices: PricedBy
    prices_of: PricesOf
    charged_usd: Usd
    repriced_usd: Usd
    difference_usd: Usd
    lines: tuple[RepricedLine, ...]


class PriceLine(_Frozen):
    """What a model costs now, in dollars for a million tokens.

    :ivar known: false where it is an upper price.
    :ivar until: when that changes, where the list knows it.
    """

    model: str
    input_per_mtok: Usd
    cached_input_per_mtok: Usd
    output_per_mtok: Usd
    origin: str
    known: bool
    until: str | None


class RerankerPrice(_Frozen):
    """What the reranker of the settings costs now, in dollars for a thousand calls and for a million tokens.

    :ivar known: false where it is an upper price.
    """

    reranker: str
    usd_per_1k_calls: Usd
    usd_per_mtok: Usd
    origin: str
    known: bool


class PricesReport(_Frozen):
    """The price book in use, and what it says of the models of the settings."""

    prices: PricedBy
    models: tuple[PriceLine, ...]
    embedding_per_mtok: Usd
    reranker: RerankerPrice


_SUMMED = ("fresh", "cache_read", "cache_write", "output", "reasoning", "cost", "saved")


def usage_report(
    ledger: Ledger,
    *,
    since: float | None = None,
    tenant: str | None = None,
    principal: str | None = None,
    by: By = "model",
) -> UsageReport:
    """What was spent.

    :param since: seconds since the epoch; the beginning of this month if None.
    :param tenant: whose; everybody's if None. Who answers to others names it.
    """
    ledger.expire_due()
    start = float(period_at("month", ledger.clock())[0]) if since is None else since
    column = entries.c[by]
    sums = [sa.func.coalesce(sa.func.sum(entries.c[name]), 0).label(name) for name in _SUMMED]
    calls = sa.func.coalesce(sa.func.sum(sa.case((_is_call(), 1), else_=0)), 0).label("calls")
    asked = sa.select(column.label("name"), calls, *sums).where(*_of(start, tenant, principal)).group_by(column)
    with ledger.database.reading() as connection:
        rows = connection.execute(asked).all()
    lines = sorted(map(_line, rows), key=lambda line: (-line.cost_usd, line.name))
    total: dict[str, Any] = {"name": "total", "calls": sum(line.calls for line in lines)}
    for name in ("fresh", "cache_read", "cache_write", "output", "reasoning", "cost_usd", "saved_usd"):
        total[name] = sum(getattr(line, name) for line in lines)
    return UsageReport(since=iso(start), by=by, total=UsageLine(**total), lines=tuple(lines))


def budgets_report(ledger: Ledger, *, tenant: str | None = None, known: Iterable[Account] = ()) -> BudgetsReport:
    """How far budgets are used up now.

    :param tenant: only what is this tenant's; everybody's if None.
    :param known: those of whom the ledger may know nothing yet, and whose budgets are told all the same.
    """
    ledger.expire_due()
    now = ledger.clock()
    current = [sa.and_(windows.c.period == one, windows.c.starts == period_at(one, now)[0]) for one in PERIODS]
    with ledger.database.reading() as connection:
        rows = connection.execute(sa.select(windows).where(sa.or_(*current))).all()
    found = {Window(row.kind, row.name, row.period, row.starts, row.ends): (row.spent, row.reserved) for row in rows}
    scopes = {(window.kind, window.name) for window in found}.union(*(one.scopes().items() for one in known))
    wishes = [(*scope, period) for scope in scopes for period in PERIODS]
    for wish in (*ledger.budgets.named(), *wishes):
        found.setdefault(Window(*wish, *period_at(wish[2], now)), (0, 0))
    lines = [
        BudgetLine(
            scope=window.kind,
            name=window.name,
            period=window.period,
            limit_usd=dollars(limit),
            spent_usd=dollars(spent),
            held_usd=dollars(held),
            remaining_usd=dollars(max(limit - spent - held, 0)),
            resets_at=iso(window.ends),
        )
        for window, (spent, held) in found.items()
        if (limit := ledger.budgets.limit(window)) is not None and (tenant is None or _is_of(window, tenant))
    ]
    order = ("total", "tenant", "pipeline", "principal")
    lines.sort(key=lambda line: (order.index(line.scope), line.name, PERIODS.index(line.period)))
    return BudgetsReport(budgets=tuple(lines))


def find_receipt(ledger: Ledger, tenant: str, request_id: str, *, principal: str | None = None) -> KeptReceipt | None:
    """The last receipt of a tenant's request of that id; None if there is none.

    :param principal: whose; of any if None. Callers may choose their ids, also one that another has.
    """
    mine = [receipts.c.request_id == request_id, receipts.c.tenant == tenant]
    if principal is not None:
        mine.append(receipts.c.principal == principal)
    with ledger.database.reading() as connection:
        row = connection.execute(sa.select(receipts).where(*mine).order_by(receipts.c.id.desc()).limit(1)).first()
    if row is None:
        return None
    return KeptReceipt(
        request_id=row.request_id,
        tenant=row.tenant,
        principal=row.principal,
        pipeline=row.pipeline,
        at=iso(row.at),
        complete=row.complete,
        receipt=Receipt.model_validate_json(row.receipt),
    )


def reprice(
    ledger: Ledger,
    prices: PriceBook,
    *,
    since: float | None = None,
    request_id: str | None = None,
    prices_of: PricesOf = "now",
) -> RepriceReport:
    """What was charged for calls of language models, by another book. Charges whose tokens are not known are priced at
    the tokens that they were charged for.

    :param since: seconds since the epoch; the beginning of this month if None, of all times for one request.
    :param request_id: only what was charged for it, of whichever tenant.
    :param prices_of: those of now, or those that the list knows of the moment of each call; the operator's own have no
        other time.
    """
    first = float(period_at("month", ledger.clock())[0]) if request_id is None else 0.0
    start = first if since is None else since
    wanted = [*_of(start, None, None), _is_priced()]
    if request_id is not None:
        wanted.append(entries.c.request_id == request_id)
    asked = sa.select(entries).where(*wanted).order_by(entries.c.model, entries.c.reserved_at)
    now = ledger.clock()
    costs: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    books: dict[str, set[str]] = defaultdict(set)
    with ledger.database.reading() as connection:
        for row in connection.execute(asked.execution_options(yield_per=1000)):
            sums = costs[row.model]
            sums[0] += row.number == 0
            sums[1] += row.cost
            at = row.reserved_at if prices_of == "call" else now
            sums[2] += _priced(prices.price(row.model, at), row)
            books[row.model].add(row.prices)
    lines = tuple(
        RepricedLine(
            model=model,
            calls=calls,
            charged_usd=dollars(before),
            repriced_usd=dollars(after),
            difference_usd=dollars(after - before),
            books=tuple(sorted(books[model])),
        )
        for model, (calls, before, after) in costs.items()
    )
    before, after = (sum(sums[part] for sums in costs.values()) for part in (1, 2))
    return RepriceReport(
        since=iso(start),
        book=prices.told(now).version,
        prices=prices.told(now),
        prices_of=prices_of,
        charged_usd=dollars(before),
        repriced_usd=dollars(after),
        difference_usd=dollars(after - before),
        lines=lines,
    )


def prices_report(book: PriceBook, settings: Settings) -> PricesReport:
    """What the models of the settings cost now."""
    models = dict.fromkeys([*(model.name for model in settings.generation.models), *settings.spend.prices])
    if settings.spend.baseline_model is not None:
        models[settings.spend.baseline_model] = None
    lines = []
    for model in models:
        price, until = book.price(model), book.until(model)
        lines.append(
            PriceLine(
                model=model,
                input_per_mtok=price.input_per_mtok,
                cached_input_per_mtok=price.cached_input_per_mtok,
                output_per_mtok=price.output_per_mtok,
                origin=price.origin,
                known=price.known,
                until=None if until is None else iso(until),
            )
        )
    return PricesReport(
        prices=book.told(),
        models=tuple(lines),
        embedding_per_mtok=settings.spend.embedding_per_mtok,
        reranker=_reranker(book, settings.rerank),
    )


def _reranker(book: PriceBook, wishes: RerankSettings) -> RerankerPrice:
    name = wishes.model or (
        without_password(wishes.url) if wishes.backend == "remote" and wishes.url else wishes.backend
    )
    if not wishes.is_priced:
        price = book.price(name)
        a_million = price.worst(1000, 0) * 1000  # of short calls
        return RerankerPrice(
            reranker=name, usd_per_1k_calls=ZERO, usd_per_mtok=a_million, origin=price.origin, known=price.known
        )
    priced = wishes.usd_per_1k_calls is not None or wishes.usd_per_mtok is not None
    return RerankerPrice(
        reranker=name,
        usd_per_1k_calls=wishes.usd_per_1k_calls or ZERO,
        usd_per_mtok=wishes.usd_per_mtok or ZERO,
        origin="settings" if priced else "on this machine",
        known=True,
    )


def _of(start: float, tenant: str | None, principal: str | None) -> list[sa.ColumnElement[bool]]:
    wanted: list[sa.ColumnElement[bool]] = [entries.c.reserved_at >= start]
    if tenant is not None:
        wanted.append(entries.c.tenant == tenant)
    if principal is not None:
        wanted.append(entries.c.principal == principal)
    return wanted


def _is_call() -> sa.ColumnElement[bool]:
    return sa.and_(entries.c.number == 0, entries.c.task != "saving")


def _is_priced() -> sa.ColumnElement[bool]:
    tokens = entries.c.fresh + entries.c.cache_read + entries.c.cache_write + entries.c.output + entries.c.reasoning
    return sa.and_(tokens != 0, entries.c.task != INGEST)


def _is_of(window: Window, tenant: str) -> bool:
    return (window.kind == "tenant" and window.name == tenant) or (
        window.kind == "principal" and window.name.startswith(f"{tenant}/")
    )


def _line(row: sa.Row[Any]) -> UsageLine:
    return UsageLine(
        name=row.name or "",
        calls=int(row.calls),
        fresh=int(row.fresh),
        cache_read=int(row.cache_read),
        cache_write=int(row.cache_write),
        output=int(row.output),
        reasoning=int(row.reasoning),
        cost_usd=dollars(int(row.cost)),
        saved_usd=dollars(int(row.saved)),
    )


def _priced(price: Price, row: sa.Row[Any]) -> int:
    if row.outcome in (UNKNOWN, EXPIRED):
        return charged(price.worst(row.fresh, row.output))
    return charged(price.of(TokenUsage(row.fresh, row.cache_read, row.cache_write, row.output, row.reasoning)))
