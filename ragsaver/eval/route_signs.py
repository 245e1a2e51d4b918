"""What does a project's index find for recorded questions? A router may learn from it beside the questions."""

from collections.abc import Callable

import numpy as np

from ragsaver.components.extractive import extract
from ragsaver.components.follow_up import made_whole
from ragsaver.components.request import Request
from ragsaver.components.route_features import FOUND, found_signs
from ragsaver.errors import UsageError
from ragsaver.eval.route_outcomes import Floats, Outcomes
from ragsaver.pipelines.engine import QueryEngine
from ragsaver.pipelines.runtime import open_runtime
from ragsaver.settings import Settings


def as_looked_for(outcomes: Outcomes, follow_ups: str) -> tuple[str, ...]:
    """The questions as the router gets them: those that lean on the conversation before them made whole, by rules.

    :param follow_ups: `generation.follow_ups`.
    """
    if follow_ups == "none":
        return outcomes.queries
    return tuple(
        made_whole(query, history) if history else query
        for query, history in zip(outcomes.queries, outcomes.histories, strict=True)
    )


def signs_found(settings: Settings, outcomes: Outcomes, role: str, progress: Callable[[int, int], None]) -> Floats:
    """Look for each question by the project's own pipeline, behind its conversation; no model is asked.

    :param role: who opens the index, for who finds it open.
    :param progress: called with the questions looked for and all of them.
    :returns: (questions, len(FOUND)) float64.
    :raises UsageError: if the index has nothing for any of them.
    """
    with open_runtime(settings, role) as runtime:
        found = signs_by(runtime.engine(), outcomes, progress)
    if not found[:, FOUND.index("passages")].any():
        raise UsageError(
            "nothing is found for any of the questions", where="--search", remedy="Run `ragsaver ingest PATH` first"
        )
    return found


def signs_by(engine: QueryEngine, outcomes: Outcomes, progress: Callable[[int, int], None]) -> Floats:
    """The same by an engine that is there.

    :returns: (questions, len(FOUND)) float64.
    """
    least = engine.resources.settings.generation.extractive_min_confidence
    rows = np.zeros((len(outcomes.queries), len(FOUND)))
    for place, (query, history) in enumerate(zip(outcomes.queries, outcomes.histories, strict=True)):
        prompt = engine.prompt(query, Request(engine.resources.default_scope, caching="off", history=history))
        sure = extract(prompt.question, prompt.documents, least).confidence
        rows[place] = found_signs(sure, prompt.question, prompt.documents, len(history))
        progress(place + 1, len(rows))
    return rows
