"""Where is the pipeline of a name? The project's own folder first, then the shipped ones."""

import re
from importlib.resources import files
from pathlib import Path

from ragsaver.errors import UsageError

# The pipeline of a search: it gives passages only.
SEARCH = "search"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def find_pipeline(name: str, folder: Path) -> Path:
    """The YAML of a pipeline: the project's own, or the shipped one of that name.

    :raises UsageError: if there is none; names those there are.
    """
    if _NAME.fullmatch(name):
        for place in (folder, _shipped()):
            file = place / f"{name}.yaml"
            if file.is_file():
                return file
    raise UsageError(
        f"there is no pipeline `{name}`",
        where=folder.name,  # also told to who asks over HTTP, as all that is wrong with a pipeline
        remedy=f"Pipelines here: {', '.join(pipeline_names(folder))}",
    )


def pipeline_names(folder: Path) -> list[str]:
    """Every pipeline that can be named: the project's and the shipped ones."""
    return sorted({file.stem for place in (folder, _shipped()) if place.is_dir() for file in place.glob("*.yaml")})


def _shipped() -> Path:
    return Path(str(files("ragsaver.pipelines")))
