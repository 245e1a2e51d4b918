"""A pipeline's YAML becomes a running pipeline, or an error that says which line of it was wrong.

Only components of Haystack, of RAGSaver, and of modules that the operator names may be loaded: a YAML file
can't import anything else.
"""

import re
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from haystack import Pipeline
from haystack.core.errors import PipelineError as HaystackPipelineError

from ragsaver.components.resources import NeedsResources, Resources
from ragsaver.errors import PipelineError, UsageError
from ragsaver.pipelines.building import build
from ragsaver.pipelines.wiring import require_wired
from ragsaver.pipelines.written import read_written, shown

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


def load_pipeline(file: Path, resources: Resources | None = None, allow_modules: Sequence[str] = ()) -> Pipeline:
    """Load a pipeline and bind its components to the process's resources.

    :param file: the YAML.
    :param resources: what its components work on; None only checks the YAML.
    :param allow_modules: modules of the team's own; looked for beside the YAML's folder too.
    :raises PipelineError: naming the file, the line and what is wrong.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"can't be read: {_reason(error)}", where=shown(file)) from error
    if allow_modules:
        _make_importable(file.resolve().parent.parent)
    written = read_written(file, text)
    pipeline = Pipeline(**written.more)
    for name, one in written.components.items():
        pipeline.add_component(name, build(name, one, written.where, ["ragsaver", *allow_modules]))
    for number, (sender, receiver) in enumerate(written.connections):
        try:
            pipeline.connect(sender, receiver)
        except HaystackPipelineError as error:
            raise PipelineError(
                f"can't connect `{sender}` to `{receiver}`: {' '.join(str(error).split()).rstrip('.')}",
                where=written.where("connections", str(number)),
            ) from error
    require_wired(pipeline, written.where)
    if resources is not None:
        for _, instance in pipeline.walk():
            if isinstance(instance, NeedsResources):
                instance.bind(resources)
    return pipeline


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror or type(error).__name__


def _shipped() -> Path:
    return Path(str(files("ragsaver.pipelines")))


def _make_importable(project: Path) -> None:
    if str(project) not in sys.path:
        sys.path.append(str(project))
