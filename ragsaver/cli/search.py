"""`ragsaver search`: passages, and nothing is generated."""

from typing import Annotated

import typer

from ragsaver.cli.output import errors_told, print_json
from ragsaver.settings import quiet_haystack
from ragsaver.settings_file import load_settings


def search(
    question: Annotated[str, typer.Argument(help="What to look for.")],
    top_k: Annotated[int | None, typer.Option(help="How many passages.")] = None,
    collection: Annotated[str | None, typer.Option(help="Where to look.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False,
) -> None:
    """Find the passages nearest to a question."""
    with errors_told(as_json):
        from ragsaver.cli.backend import backend

        quiet_haystack()
        with backend(load_settings(), "ragsaver search") as work:
            result = work.search(question, collection, top_k)
        if as_json:
            print_json(result.model_dump_json())
            return
        if not result.passages:
            typer.echo("No passage was found. This collection may be empty: `ragsaver ingest PATH` fills it.", err=True)
        for passage in result.passages:
            typer.echo(f"{passage.score:.3f}  {passage.source} — {passage.heading}\n{passage.text}\n")
