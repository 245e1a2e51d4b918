"""`ragsaver plan`: what would an ingestion do, take and cost?"""

from typing import TYPE_CHECKING, Annotated

import typer

from ragsaver.cli.ordering import Checksum, Collection, Exclude, Include, IncludeExpired, Paths, Prune, order
from ragsaver.cli.output import (
    errors_told,
    print_json,
    say,
    tell_failures,
    tell_losses,
    tell_losses_before,
    tell_vanished,
    tell_what_stays_out,
)
from ragsaver.control_characters import on_one_line
from ragsaver.settings import quiet_haystack
from ragsaver.settings_file import load_settings

if TYPE_CHECKING:
    from ragsaver.ingestion.report import PlanReport

_SHOWN = 20


def plan(
    paths: Paths,
    collection: Collection = None,
    prune: Prune = False,
    include: Include = None,
    exclude: Exclude = None,
    checksum: Checksum = False,
    include_expired: IncludeExpired = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False,
) -> None:
    """Say what `ingest` would do with the same arguments, and why; nothing is spent."""
    with errors_told(as_json):
        from ragsaver.cli.backend import backend

        quiet_haystack()
        wanted = order(
            paths,
            collection,
            prune=prune,
            include=include,
            exclude=exclude,
            checksum=checksum,
            include_expired=include_expired,
        )
        with backend(load_settings(), "ragsaver plan") as work:
            report = work.plan(wanted)
        if as_json:
            print_json(report.model_dump_json())
        else:
            _show(report)


def _show(report: "PlanReport") -> None:
    for change in report.changes[:_SHOWN]:
        say(
            f"{change.reason:<22} {on_one_line(change.source)}: {change.embed} to embed, "
            f"{change.cached} embedded before, {change.move} to move, {change.delete} to delete"
        )
    if len(report.changes) > _SHOWN:
        say(f"... and {len(report.changes) - _SHOWN} documents more (--json has them all)")
    tell_failures(report.errors, "would fail")
    documents, chunks, embedding = report.documents, report.chunks, report.embedding
    say(
        f"{documents.seen} documents: {documents.new} new, {documents.edited} edited, {documents.stale} stale by "
        f"configuration, {documents.carried} with other metadata, {documents.access} with other readers, "
        f"{documents.unchanged} unchanged, {documents.deleted} to delete, {documents.failed} would fail\n"
        f"{chunks.embed} chunks to embed, {chunks.cached} embedded before, {chunks.unchanged} unchanged, "
        f"{chunks.move} to move, {chunks.delete} to delete\n"
        f"{embedding.tokens} tokens, {took(embedding.seconds)}, ${embedding.cost_usd:.4f}"
    )
    summaries = report.summaries
    if summaries.sections:
        say(
            f"{summaries.sections} sections to summarise: at most {summaries.input_tokens} tokens in and "
            f"{summaries.output_tokens} out, ${summaries.cost_usd:.4f}"
        )
    if (refused := report.refused) is not None:
        say(
            f"budget {refused.budget} has ${refused.remaining_usd:f} left until {refused.resets_at}: what has no room "
            "in it would wait"
        )
    if report.expired:
        first = report.expired[0]
        say(
            f"retention would take out {len(report.expired)} documents, {on_one_line(first.source)} for example: "
            f"{first.reason}"
        )
    tell_vanished(documents.vanished)
    tell_what_stays_out(documents.tombstoned, report.passed_over)
    tell_losses(report.notes, report.noted)
    tell_losses_before(report.noted_before)


def took(seconds: float | None) -> str:
    """How long it will take, for a person."""
    return "time not known yet" if seconds is None else f"about {seconds:.0f} s"
