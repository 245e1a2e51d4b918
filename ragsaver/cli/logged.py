"""A question that a command answers itself is logged as the server's are: a line, and its content by policy."""

import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from ragsaver.errors import RagSaverError
from ragsaver.logs.content_log import ContentLog
from ragsaver.logs.observed import Observed, Outcome, line_of, observing
from ragsaver.logs.setup import bound, configure, tell
from ragsaver.settings import Settings

_log = logging.getLogger("ragsaver.requests")


@contextmanager
def logged(command: str, request_id: str, settings: Settings) -> Iterator[None]:
    """Log the question that is asked inside. Without `logging.file` there is no line: stderr is for who typed it."""
    if settings.logging.file is not None:
        configure(settings)
    started = time.perf_counter()
    outcome: Outcome = "failed"
    with closing(ContentLog(settings)) as content, observing(Observed()) as observed, bound(request_id=request_id):
        content.start()
        try:
            yield
            outcome = observed.ended_well
        except RagSaverError as error:
            observed.problem = error.urn()
            cost = observed.cost()
            error.cost_usd = None if cost is None else float(cost)
            if error.status < 500:
                outcome = "refused"
            raise
        except KeyboardInterrupt:
            outcome = "left"
            raise
        finally:
            spent_ms = (time.perf_counter() - started) * 1000
            level = logging.WARNING if outcome == "failed" else logging.INFO
            if settings.logging.file is not None:
                tell(_log, level, "request", line_of(observed, request_id, outcome, spent_ms, {"command": command}))
            content.keep(observed, request_id, outcome)
