"""`ragsaver init`: a project that runs as it is."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from ragsaver.cli.output import errors_told, say
from ragsaver.errors import UsageError
from ragsaver.settings_file import SETTINGS_FILE


def init(
    folder: Annotated[Path, typer.Argument(help="Where; made if missing.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Write a commented ragsaver.yaml and pipelines/ into a folder."""
    with errors_told(as_json=False):
        wanted = {
            folder / SETTINGS_FILE: files("ragsaver.cli") / "templates" / SETTINGS_FILE,
            folder / "pipelines" / "query.yaml": files("ragsaver.pipelines") / "query.yaml",
            folder / "pipelines" / "search.yaml": files("ragsaver.pipelines") / "search.yaml",
        }
        there = [target for target in wanted if target.exists()]
        if there and not force:
            raise UsageError("is there already", where=str(there[0]), remedy="Use --force to overwrite it")
        for target, template in wanted.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(template.read_text(encoding="utf-8"), encoding="utf-8")
            say(f"wrote {target}")
        say("Next: ragsaver ingest YOUR_DOCUMENTS, then ragsaver ask 'YOUR QUESTION'")
