"""`ragsaver outline`: what is a document about, heading by heading?"""

from typing import Annotated

import typer

from ragsaver.cli.output import errors_told, print_json, say
from ragsaver.settings import quiet_haystack
from ragsaver.settings_file import load_settings


def outline(
    source: Annotated[str, typer.Argument(help="The document, named as search results name it.")],
    budget_tokens: Annotated[
        int | None, typer.Option(min=0, max=1_000_000, help="Of the text; the deepest lines are left out first.")
    ] = None,
    collection: Annotated[str | None, typer.Option(help="Where it is.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False,
) -> None:
    """Show a document's headings, with the sentence, or summary, of each section."""
    with errors_told(as_json):
        from ragsaver.cli.backend import backend

        quiet_haystack()
        with backend(load_settings(), "ragsaver outline") as work:
            report = work.outline(source, collection, budget_tokens)
        if as_json:
            print_json(report.model_dump_json())
        else:
            say(report.text, nl=False)
