"""`ragsaver ingest --watch`: ingest after every change, and go on after an error."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ragsaver.cli.backend import asked_anew
from ragsaver.cli.output import ingested, tell_error
from ragsaver.errors import RagSaverError
from ragsaver.ingestion.sources import watch
from ragsaver.workers.backoff import LOOK_AGAIN_S, backoff_s

if TYPE_CHECKING:
    from ragsaver.cli.backend import Backend
    from ragsaver.ingestion.order import IngestOrder
    from ragsaver.ingestion.report import IngestFailure, IngestReport
    from ragsaver.settings import Settings


class Retry:
    """When what failed is tried again though nothing changed.

    :param backoff_s: seconds after so many failures in a row.
    """

    def __init__(self, backoff_s: Callable[[int], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._backoff_s = backoff_s
        self._clock = clock
        self._failures = 0
        self._at_s: float | None = None
        self._told = ""

    def failed(self, error: Exception) -> bool:
        """Whether the error is another than the one before, so that a person should hear of it.

        Where it says when it makes sense to try again, that is waited for, an hour at most: what a server works by may
        be changed meanwhile.
        """
        self._failures += 1
        told_s = min((error.retry_after_s if isinstance(error, RagSaverError) else None) or 0.0, LOOK_AGAIN_S)
        self._at_s = self._clock() + max(told_s, self._backoff_s(self._failures))
        told, self._told = self._told, str(error)
        return told != self._told

    def succeeded(self) -> None:
        """There is nothing to try again."""
        self._failures, self._at_s, self._told = 0, None, ""

    @property
    def failing(self) -> bool:
        """Whether the last attempt failed."""
        return self._failures > 0

    def due(self) -> bool:
        """Whether it is time."""
        return self._at_s is not None and self._clock() >= self._at_s


def keep_ingesting(
    work: "Backend",
    wanted: "IngestOrder",
    settings: "Settings",
    as_json: bool,
    show: Callable[["IngestReport"], None],
) -> None:
    """Ingest now and after every change, until Ctrl-C or SIGTERM, which is how this ends.

    :raises UsageError: if a path is not there at the start.
    :raises KeyboardInterrupt: if it is stopped while it ingests.
    """
    retry = Retry(lambda failures: backoff_s(failures, settings.queue))
    stop = threading.Event()
    changes = watch(
        wanted.paths, home=settings.home, cwd=wanted.cwd, settings=settings.sources, stop=stop, due=retry.due
    )
    ingesting = False
    failures: tuple[IngestFailure, ...] = ()
    try:
        for _ in changes:
            try:
                if retry.failing:
                    work = asked_anew(work, settings)
                ingesting = True
                report = work.ingest(wanted, None)
                ingesting = False
                if worth_showing(report, failures):
                    show(report)
                    work.optimise()
            except BrokenPipeError:  # nobody reads what this says
                raise
            except (RagSaverError, OSError) as error:
                ingesting = False
                news = retry.failed(error)
                done = ingested(error)
                if done is not None and worth_showing(done, failures):
                    if not (news and as_json):  # else it stands beside the error
                        show(done)
                    work.optimise()
                if news:
                    tell_error(error, as_json)
            else:
                retry.succeeded()
                failures = report.errors
                # What expires from now on is not asked for.
                wanted = wanted.model_copy(update={"include_expired": False})
    except KeyboardInterrupt:
        if ingesting:
            raise


def worth_showing(report: "IngestReport", failures: "tuple[IngestFailure, ...]") -> bool:
    """Whether a run did something.

    :param failures: what the run before could not read.
    """
    there = report.documents
    alone = there.unchanged + there.failed + there.tombstoned + there.vanished + there.waiting
    done = there.seen > alone
    return done or there.deleted > 0 or report.errors != failures
