"""A pipeline's YAML becomes a running pipeline, or an error that says which line of it was wrong.

Only components of Haystack, of RAGSaver, and of modules that the operator names may be loaded: a YAML file
can't import anything else.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from haystack import Pipeline
from haystack.core.errors import PipelineError as HaystackPipelineError

from ragsaver.components.resources import NeedsResources, Resources
from ragsaver.errors import PipelineError
from ragsaver.pipelines.building import build
from ragsaver.pipelines.legs import leave_unread_legs
from ragsaver.pipelines.wiring import require_wired
from ragsaver.pipelines.written import read_written, shown


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
    leave_unread_legs(pipeline, written.where)
    if resources is not None:
        for _, instance in pipeline.walk():
            if isinstance(instance, NeedsResources):
                instance.bind(resources)
    return pipeline


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror or type(error).__name__


def _make_importable(project: Path) -> None:
    if str(project) not in sys.path:
        sys.path.append(str(project))
