"""What does a project's index find for recorded questions? A router may learn from it beside the questions."""

from collections.abc import Callable, Sequence

import numpy as np

from ragsaver.components.extractive import extract
from ragsaver.components.request import Request
from ragsaver.components.route_features import FOUND, found_signs
from ragsaver.errors import UsageError
from ragsaver.eval.route_outcomes import Floats
from ragsaver.pipelines.engine import QueryEngine
from ragsaver.pipelines.runtime import open_runtime
from ragsaver.settings import Settings


def signs_found(settings: Settings, queries: Sequence[str], role: str, progress: Callable[[int, int], None]) -> Floats:
    """Look for each question by the project's own pipeline; no model is asked.

    :param role: who opens the index, for who finds it open.
    :param progress: called with the questions looked for and all of them.
    :returns: (questions, len(FOUND)) float64.
    :raises UsageError: if the index has nothing for any of them.
    """
    with open_runtime(settings, role) as runtime:
        found = signs_by(runtime.engine(), queries, progress)
    if not found[:, FOUND.index("passages")].any():
        raise UsageError(
            "nothing is found for any of the questions", where="--search", remedy="Run `ragsaver ingest PATH` first"
        )
    return found


def signs_by(engine: QueryEngine, queries: Sequence[str], progress: Callable[[int, int], None]) -> Floats:
    """The same by an engine that is there.

    :returns: (questions, len(FOUND)) float64.
    """
    least = engine.resources.settings.generation.extractive_min_confidence
    rows = np.zeros((len(queries), len(FOUND)))
    for place, query in enumerate(queries):
        documents = engine.prompt(query, Request(engine.resources.default_scope, caching="off")).documents
        rows[place] = found_signs(extract(query, documents, least).confidence, query, documents, past_turns=0)
        progress(place + 1, len(queries))
    return rows
