"""`ragsaver state`: where manifest, jobs, API keys and ledger are kept."""

from typing import Annotated

import typer

from ragsaver.cli.output import errors_told, print_json, say
from ragsaver.settings_file import load_settings

app = typer.Typer(no_args_is_help=True)


@app.command("copy")
def copy(as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False) -> None:
    """Copy manifest, jobs, API keys and ledger from files under `home` to the PostgreSQL of `database.url`."""
    with errors_told(as_json):
        from ragsaver.ingestion.copying import copy_to_database

        report = copy_to_database(load_settings())
        if as_json:
            print_json(report.model_dump_json())
            return
        for store, tables in report:
            counts = ", ".join(f"{rows} {table}" for table, rows in tables.items() if rows)
            say(f"{store}: {counts or 'nothing'}")


@app.callback()
def _group() -> None:
    """Where manifest, jobs, API keys and ledger are kept."""
