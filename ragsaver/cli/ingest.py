"""`ragsaver ingest`: bring documents in."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ragsaver.cli.ordering import Checksum, Collection, Exclude, Include, IncludeExpired, Paths, Prune, order
from ragsaver.cli.output import (
    errors_told,
    ingested,
    print_json,
    say,
    tell_failures,
    tell_losses,
    tell_losses_before,
    tell_summaries,
    tell_vanished,
    tell_what_stays_out,
)
from ragsaver.control_characters import on_one_line
from ragsaver.errors import BudgetExceeded, UnreadableDocument, UsageError
from ragsaver.ingestion.turns import Priority
from ragsaver.settings import quiet_haystack
from ragsaver.settings_file import load_settings

if TYPE_CHECKING:
    from ragsaver.ingestion.job_report import JobReport
    from ragsaver.ingestion.order import IngestOrder
    from ragsaver.ingestion.report import IngestReport, Progress
    from ragsaver.settings import Settings

_SHOWN = 20

# What was not done again, by where it came from.
_AGAIN = {"embedding cache": "embedded", "summary cache": "spent on summaries"}


def ingest(
    paths: Paths,
    collection: Collection = None,
    prune: Prune = False,
    include: Include = None,
    exclude: Exclude = None,
    checksum: Checksum = False,
    include_expired: IncludeExpired = False,
    max_cost: Annotated[str | None, typer.Option(metavar="USD", help="Refuse if it would cost more.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and ingest again whenever a file changes.")] = False,
    queue: Annotated[bool, typer.Option("--queue", help="Let workers do it; needs a broker.")] = False,
    priority: Annotated[Priority | None, typer.Option(help="With --queue: what is worked on first.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="With --queue: until it is done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False,
) -> None:
    """Ingest documents. What has not changed costs nothing."""
    with errors_told(as_json):
        from ragsaver.cli.backend import backend

        quiet_haystack()
        settings = load_settings()
        wanted = order(
            paths,
            collection,
            prune=prune,
            include=include,
            exclude=exclude,
            checksum=checksum,
            include_expired=include_expired,
            max_cost_usd=max_cost,
        )
        if wait and not queue:
            raise UsageError("goes with --queue only", where="--wait")
        if priority and not queue:
            raise UsageError("goes with --queue only", where="--priority")
        if watch and queue:
            raise UsageError("does not go with --queue", where="--watch")
        if queue:
            _queue(wanted, settings, priority or Priority.NORMAL, wait, as_json)
            return
        with backend(settings, "ragsaver ingest") as work:
            if watch:
                from ragsaver.cli.watching import keep_ingesting

                keep_ingesting(work, wanted, settings, as_json, show=lambda report: _show(report, as_json))
                return
            try:
                with progress_bar() as progress:
                    report = work.ingest(wanted, progress)
            except BudgetExceeded as error:
                if (done := ingested(error)) is not None:
                    if not as_json:  # else it stands beside the error
                        _show(done, as_json)
                    work.optimise()
                raise
            _show(report, as_json)
            work.optimise()
        if report.errors:
            raise typer.Exit(UnreadableDocument.exit_code)


def _queue(wanted: "IngestOrder", settings: "Settings", priority: Priority, wait: bool, as_json: bool) -> None:
    """Hand the documents to workers, and wait for them if that is wanted."""
    from ragsaver.cli.jobs import line_of, tell_notes
    from ragsaver.index.scope import Scope
    from ragsaver.workers.queueing import IngestQueue
    from ragsaver.workers.waiting import wait_for

    scope = Scope(settings.tenant, wanted.collection or settings.collection)
    with closing(IngestQueue(settings)) as jobs:
        report = jobs.put(wanted, scope, priority)
        if wait:
            with progress_bar() as progress:
                report = wait_for(jobs, settings, report.job_id, scope.tenant, _shown_by(progress))
            report = jobs.report(report.job_id, scope.tenant) or report
    tell_failures(report.errors)
    if as_json:
        print_json(report.model_dump_json())
    else:
        say(line_of(report))
        tell_notes(report)
    if report.errors:
        raise typer.Exit(UnreadableDocument.exit_code)


def _shown_by(progress: "Callable[[Progress], None] | None") -> "Callable[[JobReport], None]":
    from ragsaver.ingestion.report import Progress

    def step(report: "JobReport") -> None:
        if progress:
            there = report.documents
            waiting = there.queued + there.converted + there.embedded
            progress(Progress(done=there.seen - waiting, total=there.seen, embedded=there.embedded))

    return step


def _show(report: "IngestReport", as_json: bool) -> None:
    tell_failures(report.errors)
    if as_json:
        print_json(report.model_dump_json())
        return
    documents, chunks = report.documents, report.chunks
    say(
        f"{documents.seen} documents: {documents.added} added, {documents.changed} changed, "
        f"{documents.unchanged} unchanged, {documents.deleted} deleted, {documents.failed} failed"
        f"{f', {documents.waiting} wait' if documents.waiting else ''}\n"
        f"{chunks.total} chunks: {chunks.embedded} embedded, {chunks.reused} reused, "
        f"{chunks.deleted} deleted\n{report.embedding.tokens} tokens embedded in {report.seconds:.1f} s"
    )
    for line in report.receipt.lines:
        if line.item in _AGAIN:
            say(f"{line.quantity:g} tokens not {_AGAIN[line.item]} again: {line.reason} (saved ${line.saved_usd:.6f})")
    for source in report.replaced[:_SHOWN]:
        say(f"{on_one_line(source)}: took the place of a posted text of this name")
    tell_summaries(report.summaries)
    for line in report.receipt.lines:
        if line.unit == "sections":
            say(f"{line.quantity:g} {line.item}: {line.reason}", err=True)
    tell_vanished(documents.vanished)
    tell_what_stays_out(documents.tombstoned, report.passed_over)
    tell_losses(report.notes, report.noted)
    tell_losses_before(report.noted_before)


@contextmanager
def progress_bar() -> "Iterator[Callable[[Progress], None] | None]":
    """A bar on a terminal; None where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("documents")
        yield lambda state: bar.update(
            task, completed=state.done, total=state.total, description=f"{state.embedded} chunks embedded"
        )
