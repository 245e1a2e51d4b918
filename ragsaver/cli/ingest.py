"""`ragsaver ingest`: bring documents in."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragsaver.cli.output import errors_told, print_json
from ragsaver.errors import UnreadableDocument
from ragsaver.settings import load_settings, quiet_haystack

if TYPE_CHECKING:
    from ragsaver.ingestion.report import Progress


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.")],
    collection: Annotated[str | None, typer.Option(help="Where they go.")] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Forget documents whose file is gone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False,
) -> None:
    """Ingest documents. What has not changed costs nothing."""
    with errors_told(as_json):
        from ragsaver.cli.backend import backend

        quiet_haystack()
        settings = load_settings()
        with backend(settings, "ragsaver ingest") as work, _bar() as progress:
            report = work.ingest(paths, collection, prune, progress)
        for failure in report.errors:
            typer.echo(f"failed: {failure.error}", err=True)
        if as_json:
            print_json(report.model_dump_json())
        else:
            documents, chunks = report.documents, report.chunks
            typer.echo(
                f"{documents.seen} documents: {documents.added} added, {documents.changed} changed, "
                f"{documents.unchanged} unchanged, {documents.deleted} deleted, {documents.failed} failed\n"
                f"{chunks.total} chunks: {chunks.embedded} embedded, {chunks.reused} reused, "
                f"{chunks.deleted} deleted\n{report.embedding.tokens} tokens embedded in {report.seconds:.1f} s"
            )
        if report.errors:
            raise typer.Exit(UnreadableDocument.exit_code)


@contextmanager
def _bar() -> "Iterator[Callable[[Progress], None] | None]":
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
