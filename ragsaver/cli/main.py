"""The `ragsaver` command. Imports at the top are the cheap ones: `--help` must not wait for Haystack."""

import gc
import os
import signal
import sys

import typer

from ragsaver import __version__
from ragsaver.cli import (
    ask,
    cache,
    doctor,
    documents,
    evaluate,
    index,
    ingest,
    init,
    jobs,
    keys,
    logs,
    migrate,
    outline,
    plan,
    route,
    search,
    serve,
    spend,
    state,
    verify,
    worker,
)
from ragsaver.collecting import collect_seldom

app = typer.Typer(
    name="ragsaver",
    help="Cost-aware RAG: every answer comes with a receipt.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Cost-aware RAG: every answer comes with a receipt."""


app.command("init")(init.init)
app.command("ingest")(ingest.ingest)
app.command("plan")(plan.plan)
app.command("outline")(outline.outline)
app.command("search")(search.search)
app.command("ask")(ask.ask)
app.command("serve")(serve.serve)
app.command("worker")(worker.worker)
app.command("verify")(verify.verify)
app.command("migrate")(migrate.migrate)
app.command("doctor")(doctor.doctor)
app.command("usage")(spend.usage)
app.command("budgets")(spend.budgets)
app.add_typer(spend.app, name="spend", help="Receipts, and what calls would cost by other prices.")
app.add_typer(cache.app, name="cache", help="What the caches of answers hold, and how to empty them.")
app.add_typer(documents.app, name="documents", help="List, delete, expire and report documents.")
app.add_typer(state.app, name="state", help="Move manifest, jobs, API keys and ledger to PostgreSQL.")
app.add_typer(index.app, name="index", help="Move the index to a Qdrant server, or back.")
app.add_typer(jobs.app, name="jobs", help="What is queued, what became of it, and what to do about it.")
app.add_typer(keys.app, name="keys", help="Who may ask the server from elsewhere, and in whose name.")
app.add_typer(logs.app, name="logs", help="What was kept of questions and answers: show it, delete it.")
app.add_typer(route.app, name="route", help="Train the router that picks the model.")
app.add_typer(evaluate.app, name="eval", help="Measure retrieval and context on a dataset.")


def _open_what_is_closed() -> None:
    """Who closes stdout or stderr wants nothing said, but the work done. No file of ours may take their numbers."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))


def main() -> None:
    """Run the command line. SIGTERM stops a command as Ctrl-C does."""
    collect_seldom()
    _open_what_is_closed()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    finally:
        gc.freeze()  # what is left ends with the process: Python need not look which of it is unreachable
