"""`ragsaver usage`, `budgets` and `spend`: what was spent, what may still be, what it would cost by other prices."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ragsaver.cli.output import errors_told, print_json, say
from ragsaver.errors import ReceiptNotFound, UsageError
from ragsaver.settings import Settings
from ragsaver.settings_file import load_settings
from ragsaver.spend.since import seconds_of

if TYPE_CHECKING:
    from ragsaver.spend.ledger import Ledger

app = typer.Typer(no_args_is_help=True)


class By(StrEnum):
    """What usage is told by."""

    MODEL = "model"
    TENANT = "tenant"
    PRINCIPAL = "principal"
    PIPELINE = "pipeline"
    TIER = "tier"
    TASK = "task"
    OUTCOME = "outcome"


class PricesOf(StrEnum):
    """When the prices hold by which something is priced again."""

    NOW = "now"
    CALL = "call"


_BY = {PricesOf.NOW: "now", PricesOf.CALL: "by the prices of then"}

_Json = Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")]
_Tenant = Annotated[str | None, typer.Option(help="Only this tenant's; everybody's if left out.")]
_Since = Annotated[str | None, typer.Option(metavar="DATE", help="From this day or moment on (UTC): 2026-11-01.")]


def usage(
    by: Annotated[By, typer.Option(help="What the lines are for.")] = By.MODEL,
    since: _Since = None,
    tenant: _Tenant = None,
    principal: Annotated[str | None, typer.Option(help="Only this principal's.")] = None,
    as_json: _Json = False,
) -> None:
    """Tell what was spent, this month if no day is named."""
    with errors_told(as_json):
        start = _moment(since)
        with _ledger() as (_, ledger):
            from ragsaver.spend.reports import usage_report

            report = usage_report(ledger, since=start, tenant=tenant, principal=principal, by=by.value)
        if as_json:
            print_json(report.model_dump_json())
            return
        say(f"since {report.since}")
        for line in (*report.lines, report.total):
            say(
                f"{line.name or '-':<24} {line.calls:>6} calls  {line.fresh:>9} fresh  {line.cache_read:>9} cached  "
                f"{line.output + line.reasoning:>9} out  ${line.cost_usd:.6f}  saved ${line.saved_usd:.6f}"
            )


def budgets(tenant: _Tenant = None, as_json: _Json = False) -> None:
    """Tell how far each budget is used up, what running calls hold of it, and when it begins anew."""
    with errors_told(as_json):
        with _ledger() as (settings, ledger):
            from ragsaver.spend.budgets import Account
            from ragsaver.spend.reports import budgets_report

            report = budgets_report(ledger, tenant=tenant, known=[Account(tenant or settings.tenant)])
        if as_json:
            print_json(report.model_dump_json())
            return
        for line in report.budgets:
            say(
                f"{line.scope:<10} {line.name or '-':<24} per {line.period:<6} ${line.spent_usd:.6f} spent  "
                f"${line.held_usd:.6f} held  ${line.remaining_usd:.6f} of ${line.limit_usd:.6f} left  "
                f"until {line.resets_at}"
            )
        if not report.budgets:
            say("No budget is used, or none is set (`spend.budgets` in ragsaver.yaml)")


@app.command("reprice")
def reprice(
    since: _Since = None,
    request: Annotated[str | None, typer.Option(help="Only this request's: `request_id` of its answer.")] = None,
    at: Annotated[
        PricesOf, typer.Option(help="By the prices of now, or by those that the list has for the time of each call.")
    ] = PricesOf.NOW,
    as_json: _Json = False,
) -> None:
    """Tell what the calls of this month, or since a day, would have cost by other prices. Nothing is changed."""
    with errors_told(as_json):
        start = _moment(since)
        with _ledger() as (settings, ledger):
            from ragsaver.spend.prices import PriceBook
            from ragsaver.spend.reports import reprice as priced_again

            book = PriceBook.of(settings.spend)
            report = priced_again(ledger, book, since=start, request_id=request, prices_of=at.value)
        if as_json:
            print_json(report.model_dump_json())
            return
        for line in report.lines:
            say(
                f"{line.model:<24} {line.calls:>6} calls  ${line.charged_usd:.6f} by {', '.join(line.books)}, "
                f"${line.repriced_usd:.6f} {_BY[at]}"
            )
        say(f"${report.charged_usd:.6f} charged, ${report.repriced_usd:.6f} by {report.book} ({report.prices.source})")


@app.command("prices")
def prices(as_json: _Json = False) -> None:
    """Tell which price book is in use, what each configured model costs by it now, and who says so."""
    with errors_told(as_json):
        from ragsaver.spend.prices import PriceBook
        from ragsaver.spend.reports import prices_report

        settings = load_settings()
        report = prices_report(PriceBook.of(settings.spend), settings)
        if as_json:
            print_json(report.model_dump_json())
            return
        for line in report.models:
            told = f"{line.origin}{'' if line.until is None else f', until {line.until}'}"
            say(
                f"{line.model:<24} ${line.input_per_mtok:f} in  ${line.cached_input_per_mtok:f} cached  "
                f"${line.output_per_mtok:f} out, for a million tokens  {told}"
            )
        say(f"{'embedding':<24} ${report.embedding_per_mtok:f} for a million tokens")
        reranker = report.reranker
        say(
            f"{reranker.reranker:<24} ${reranker.usd_per_1k_calls:f} for a thousand calls, "
            f"${reranker.usd_per_mtok:f} for a million tokens, as reranker  {reranker.origin}"
        )
        say(f"{report.prices.version} ({report.prices.source})")


@app.command("receipt")
def receipt(
    request_id: Annotated[str, typer.Argument(help="Of the request: `request_id` of its answer.")],
    tenant: Annotated[str | None, typer.Option(help="Whose; `tenant` of the settings if left out.")] = None,
    as_json: _Json = False,
) -> None:
    """Show the receipt of a request."""
    with errors_told(as_json):
        with _ledger() as (settings, ledger):
            from ragsaver.spend.reports import find_receipt

            found = find_receipt(ledger, tenant or settings.tenant, request_id)
        if found is None:
            raise ReceiptNotFound(f"there is no receipt of request {request_id}", remedy="See the answer's request_id")
        if as_json:
            print_json(found.model_dump_json())
            return
        say(f"{found.request_id}, {found.at}{'' if found.complete else ', without an answer'}")
        for line in found.receipt.lines:
            say(f"  {line.stage:<12} {line.item:<26} ${line.cost_usd:.6f}  {line.reason}")
        say(f"  spent ${found.receipt.cost_usd:.6f}, saved ${found.receipt.saved_usd:.6f}")
        if (by := found.receipt.prices) is not None:
            say(f"  priced by {by.version} ({by.source})")


@contextmanager
def _ledger() -> "Iterator[tuple[Settings, Ledger]]":
    from ragsaver.spend.ledger import open_ledger

    settings = load_settings()
    with closing(open_ledger(settings)) as ledger:
        yield settings, ledger


def _moment(since: str | None) -> float | None:
    if since is None:
        return None
    try:
        return seconds_of(datetime.fromisoformat(since), "--since")
    except ValueError:
        raise UsageError(f"`{since}` is no day or moment", where="--since", remedy="Write 2026-11-01") from None
