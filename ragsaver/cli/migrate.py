"""`ragsaver migrate`: another embedding model or chunker, while the old index serves."""

import json
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated

import typer

from ragsaver.cli.output import errors_told, print_json, say
from ragsaver.cli.plan import took
from ragsaver.control_characters import on_one_line
from ragsaver.errors import UnreadableDocument, UsageError
from ragsaver.settings import quiet_haystack
from ragsaver.settings_file import load_settings

if TYPE_CHECKING:
    from ragsaver.ingestion.migration_report import MigrationPlan, MigrationReport

_SHOWN = 20


def migrate(
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it would take.")] = False,
    max_cost: Annotated[str | None, typer.Option(metavar="USD", help="Refuse if embedding would cost more.")] = None,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Switch although some documents can't be read any more.")
    ] = False,
    abort: Annotated[bool, typer.Option("--abort", help="Remove what was built and not switched to.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False,
) -> None:
    """Build a new index by the settings beside the old one, and put it in its place."""
    with errors_told(as_json):
        from ragsaver.cli.ingest import progress_bar
        from ragsaver.ingestion.cutting import cutters
        from ragsaver.ingestion.migration import open_migration
        from ragsaver.models.registry import load_encoder

        quiet_haystack()
        settings = load_settings()
        limit = _usd(max_cost)
        pool = cutters(settings.ingestion)
        try:
            with open_migration(settings, load_encoder(settings.embedding), pool) as migration:
                if abort:
                    _show_abort(migration.abort(), as_json)
                    return
                if plan:
                    _show_plan(migration.plan(), as_json)
                    return
                with progress_bar() as progress:
                    report = migration.run(
                        max_cost_usd=limit,
                        drop_missing=drop_missing,
                        progress=progress,
                        waits=lambda what: say(what, err=True),
                    )
        finally:
            pool.close()
        _show(report, as_json)
        if report.errors and not report.switched:
            raise typer.Exit(UnreadableDocument.exit_code)


def _usd(given: str | None) -> Decimal | None:
    try:
        return None if given is None else Decimal(given)
    except InvalidOperation:
        raise UsageError("--max-cost takes a number of dollars", remedy="See `ragsaver migrate --help`") from None


def _show_abort(removed: bool, as_json: bool) -> None:
    if as_json:
        print_json(json.dumps({"removed": removed}))
    else:
        say("removed" if removed else "there was nothing to remove")


def _show_plan(plan: "MigrationPlan", as_json: bool) -> None:
    if as_json:
        print_json(plan.model_dump_json())
        return
    if plan.reason is None:
        say("the index is as the settings say: there is nothing to do")
        return
    for failure in plan.missing[:_SHOWN]:
        say(f"can't be brought over: {on_one_line(failure.source)}: {failure.error}", err=True)
    say(
        f"{plan.reason}\n{plan.documents} documents, {len(plan.missing)} of them can't be read any more\n"
        f"{plan.chunks} chunks to embed: {plan.embedding.tokens} tokens, {took(plan.embedding.seconds)}, "
        f"${plan.embedding.cost_usd:.4f}"
    )


def _show(report: "MigrationReport", as_json: bool) -> None:
    for failure in report.errors[:_SHOWN]:
        say(f"not brought over: {on_one_line(failure.source)}: {failure.error}", err=True)
    if as_json:
        print_json(report.model_dump_json())
        return
    if report.reason:
        documents, chunks = report.documents, report.chunks
        say(
            f"{report.reason}\n{documents.brought} of {documents.total} documents are in the new index; "
            f"{chunks.embedded} chunks embedded, {chunks.reused} reused, ${report.embedding.cost_usd:.4f}, "
            f"{report.seconds:.1f} s"
        )
    say("the new index is in use" if report.switched else str(report.waiting))
