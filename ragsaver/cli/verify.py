"""`ragsaver verify`: manifest against index, repaired."""

from typing import Annotated

import typer

from ragsaver.cli.output import errors_told, print_json, say
from ragsaver.settings import quiet_haystack
from ragsaver.settings_file import load_settings


def verify(
    collection: Annotated[str | None, typer.Option(help="Which collection.")] = None,
    vectors: Annotated[
        bool, typer.Option("--vectors", help="Hold the vectors against the embedding cache, too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False,
) -> None:
    """Compare the manifest with the index and repair what differs."""
    with errors_told(as_json):
        from ragsaver.cli.backend import backend

        quiet_haystack()
        with backend(load_settings(), "ragsaver verify") as work:
            report = work.verify(collection, vectors)
        if as_json:
            print_json(report.model_dump_json())
        else:
            compared = f"{report.vectors} vectors compared, " if vectors else ""
            say(
                f"{report.documents} documents, {report.points} points: {compared}{report.missing} missing, "
                f"{report.orphaned} orphaned, {report.readers} with other readers, {report.altered} altered, "
                f"{report.repaired} repaired"
            )
