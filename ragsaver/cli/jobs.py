"""`ragsaver jobs`: what is queued, what became of it, and what to do about it."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from ragsaver.cli.output import errors_told, print_json, say, tell_losses, tell_summaries, tell_what_stays_out
from ragsaver.control_characters import on_one_line
from ragsaver.errors import UsageError
from ragsaver.settings import quiet_haystack
from ragsaver.settings_file import load_settings
from ragsaver.timestamps import iso

if TYPE_CHECKING:
    from ragsaver.ingestion.job_report import DeadDocument, JobReport

app = typer.Typer(no_args_is_help=True)

_Job = Annotated[str, typer.Argument(metavar="JOB", help="As `ragsaver jobs list` shows it.")]
# What only `jobs show` tells.
_OF_ONE = {"progress", "errors", "waiting", "notes", "noted"}
_Json = Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")]


@app.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 20,
    dead: Annotated[bool, typer.Option("--dead", help="The dead documents of all jobs instead.")] = False,
    as_json: _Json = False,
) -> None:
    """The jobs, newest first; or the documents that were given up."""
    with errors_told(as_json):
        quiet_haystack()
        from ragsaver.workers.queueing import open_jobs

        settings = load_settings()
        if dead:
            _show_dead(open_jobs(settings).dead(settings.tenant, limit=limit), as_json)
            return
        reports = open_jobs(settings).reports(settings.tenant, settings.spend, limit=limit)
        if as_json:
            shown = [json.loads(report.model_dump_json(exclude=_OF_ONE)) for report in reports]
            print_json(json.dumps({"jobs": shown}))
            return
        for report in reports:
            say(line_of(report))
        if not reports:
            say("There is no job.", err=True)


@app.command("show")
def show(job: _Job, as_json: _Json = False) -> None:
    """One job with its documents."""
    with errors_told(as_json):
        quiet_haystack()
        from ragsaver.workers.queueing import open_jobs

        settings = load_settings()
        report = open_jobs(settings).report(job, settings.tenant, settings.spend)
        if report is None:
            raise _unknown(job)
        if as_json:
            print_json(report.model_dump_json())
            return
        say(line_of(report))
        for one in report.progress:
            tried = f" (attempt {one.attempts})" if one.attempts else ""
            say(f"  {one.state:<10} {on_one_line(one.source)}{tried}{f': {one.error}' if one.error else ''}")
        tell_notes(report)


@app.command("retry")
def retry(job: _Job, as_json: _Json = False) -> None:
    """Begin again with the documents of a job that failed or are dead."""
    with errors_told(as_json):
        quiet_haystack()
        from ragsaver.workers.queueing import open_jobs

        settings = load_settings()
        jobs = open_jobs(settings)
        if jobs.report(job, settings.tenant, settings.spend, limit=0) is None:
            raise _unknown(job)
        again = jobs.retry(job, settings.tenant)
        if as_json:
            print_json(json.dumps({"retried": again}))
        else:
            say(f"{again} documents are queued again; the next worker that looks sends them")


@app.command("drop")
def drop(job: _Job, as_json: _Json = False) -> None:
    """Forget a job and what of it still waits; what went in stays in."""
    with errors_told(as_json):
        quiet_haystack()
        from ragsaver.workers.queueing import open_jobs

        settings = load_settings()
        if not open_jobs(settings).drop(job, settings.tenant):
            raise _unknown(job)
        if as_json:
            print_json(json.dumps({"dropped": job}))
        else:
            say(f"{on_one_line(job)} is forgotten; what of it went in stays in")


def _show_dead(documents: "list[DeadDocument]", as_json: bool) -> None:
    if as_json:
        print_json(json.dumps({"dead": [one.model_dump() for one in documents]}))
        return
    for one in documents:
        say(
            f"{one.job_id}  {iso(one.died_at)}  {one.collection}: {on_one_line(one.source)} "
            f"({one.attempts} attempts): {one.error}"
        )
    if not documents:
        say("No document is dead.")


def line_of(report: "JobReport") -> str:
    """A job on one line."""
    counts = ", ".join(f"{count} {name}" for name, count in report.documents.model_dump().items() if count)
    return f"{report.job_id}  {report.state:<10} {report.priority:<6} {report.collection}: {counts or 'no documents'}"


def tell_notes(report: "JobReport") -> None:
    """What a job's embedding and summaries took, what was not paid for again, and what is not in."""
    embedding, summaries = report.embedding, report.summaries
    if embedding.tokens:
        say(f"{embedding.tokens} tokens embedded (${embedding.cost_usd:.6f})")
    if embedding.cached_tokens:
        say(f"{embedding.cached_tokens} tokens were embedded before (saved ${embedding.saved_usd:.6f})")
    tell_summaries(summaries)
    if summaries.cached:
        say(f"{summaries.cached} sections were summarised before (saved ${summaries.saved_usd:.6f})")
    if summaries.lacking:
        say(f"{summaries.lacking} sections without a summary; the next ingestion tries them again", err=True)
    tell_what_stays_out(0, report.passed_over)
    tell_losses(report.notes, report.noted)


def _unknown(job: str) -> UsageError:
    return UsageError("there is no such job", where=job, remedy="`ragsaver jobs list` shows those there are")
