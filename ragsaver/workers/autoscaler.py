"""Lets a Celery worker size its own pool by what waits in its queues, and not by what it has already taken.

Celery's own autoscaler counts the messages that this worker holds, so it never sees a backlog. Where an orchestrator
starts and stops whole workers it is to scale those instead: with both, or with two such workers on one queue, each
would answer the same backlog.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from celery.utils.log import get_logger
from celery.worker.autoscale import Autoscaler

from ragsaver.errors import SettingsError, StorageError
from ragsaver.workers.backlog import Backlog, Waiting
from ragsaver.workers.metering import Meter, Sample
from ragsaver.workers.moves import Done
from ragsaver.workers.pool import ResizablePool
from ragsaver.workers.scaling import Decision, Policy

_logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class QueueWatch:
    """Some queues together, and what their worker does.

    :ivar done: what this worker has done since it counts.
    """

    backlog: Backlog
    queues: Sequence[str]
    done: Callable[[], Done]

    def look(self) -> Waiting:
        """:raises StorageError: if the job store can't be read."""
        seen = self.backlog.look()
        waiting = [seen[queue] for queue in self.queues]
        return Waiting(sum(one.documents for one in waiting), max(one.oldest_age_s for one in waiting))


class QueueAutoscaler(Autoscaler):  # type: ignore[misc]
    """Resizes its worker's pool as `decide` says, within Celery's `--autoscale MAX,MIN` and the policy's bounds.

    A pool keeps one thread, since Celery can't run one without; to zero goes what starts whole workers. A document
    counts for `Policy.tokens_per_document`, whether it waits or is done, until one was embedded here: from then on for
    what those had that were done lately. A worker that embeds none measures documents, in the unit of that number.

    :param watch: the queues that this worker takes from.
    :param resized: told of each new size.
    :param clock: seconds that never go back.
    :raises SettingsError: if the pool can't be resized.
    """

    def __init__(
        self,
        pool: Any,
        max_concurrency: int,
        min_concurrency: int = 0,
        worker: Any = None,
        keepalive: float | None = None,
        mutex: Any = None,
        *,
        watch: QueueWatch,
        policy: Policy,
        resized: Callable[[int], None] = lambda threads: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not isinstance(pool, ResizablePool):
            raise SettingsError(
                f"the pool {type(pool).__module__} can't grow or shrink",
                where="--autoscale",
                remedy="Start the worker with `ragsaver worker --autoscale MAX,MIN`, or scale whole workers",
            )
        # on an event loop Celery calls each `keepalive` seconds
        super().__init__(pool, max_concurrency, min_concurrency, worker, keepalive or policy.look_every_s, mutex)
        self._watch, self._policy, self._resized, self._clock = watch, policy, resized, clock
        self._looked_s: float | None = None
        self._meter = Meter()
        self.decision: Decision | None = None

    def _maybe_scale(self, req: Any = None) -> bool:
        now_s = self._clock()
        # Celery calls with every message too
        if self._looked_s is not None and now_s - self._looked_s < self._policy.look_every_s:
            return False
        self._looked_s = now_s
        try:
            waiting = self._watch.look()
        except StorageError as error:
            _logger.warning("The pool keeps its %d threads: %s", self.processes, error)
            return False
        self._meter = self._meter.add(self._sample(waiting, now_s))
        self.decision, self._meter = self._meter.decided(self._bounds())
        more: int = self.decision.workers - self.processes
        if not more:
            return False
        _logger.info("Pool from %d to %d: %s", self.processes, self.decision.workers, self.decision.reason)
        if more > 0:
            self._grow(more)
        else:
            self._shrink(-more)
        self._resized(self.processes)
        return True

    def _sample(self, waiting: Waiting, now_s: float) -> Sample:
        each, done = self._policy.tokens_per_document, self._watch.done()
        return Sample(
            at_s=now_s,
            backlog_tokens=waiting.documents * each,
            oldest_age_s=waiting.oldest_age_s,
            done_tokens=done.documents * each,
            measured_tokens=done.tokens,
            workers=self.processes,
            busy_workers=min(self.pool.busy, self.processes),
        )

    def _bounds(self) -> Policy:
        most = max(min(self.max_concurrency, self._policy.max_workers), 1)
        least = min(max(self.min_concurrency, self._policy.min_workers, 1), most)
        return self._policy.model_copy(update={"min_workers": least, "max_workers": most})
