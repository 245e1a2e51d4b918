"""Lets a Celery worker size its own pool by what waits in the queue, and not by what it has already taken.

Celery's own autoscaler counts the messages that this worker holds, so it never sees a backlog. For pools that can
grow and shrink (prefork). Where an orchestrator starts and stops whole workers it is to scale those instead: with
both, or with two such workers on one queue, each would answer the same backlog.

    app.conf.worker_autoscaler = partial(QueueAutoscaler, watch=RedisWatch(...), policy=Policy(...))
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.utils.log import get_logger
from celery.worker import state
from celery.worker.autoscale import Autoscaler
from pydantic import BaseModel, ConfigDict, Field

from ragsaver.errors import SettingsError
from ragsaver.workers.metering import Meter, Sample
from ragsaver.workers.scaling import Decision, Policy

if TYPE_CHECKING:
    from redis import Redis

_logger = get_logger(__name__)


class Waiting(BaseModel):
    """What a queue holds that no worker has taken; `done_tokens` is what its workers have done since they count."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    messages: int = Field(ge=0)
    oldest_age_s: float = Field(ge=0)
    done_tokens: float = Field(ge=0)


class QueueWatch(Protocol):
    """Where the autoscaler looks."""

    def look(self) -> Waiting:
        """The queue now. May raise any `OSError` when it can't be seen; the pool then stays as it is."""


class RedisWatch:
    """A Celery queue on Redis without priorities: a list, and two keys that whoever sends and does the work keeps.

    :param redis: with short timeouts and no retries, since Celery's event loop waits for its answer.
    :param oldest_key: Unix time, in seconds, at which the oldest waiting document was queued; absent if none waits.
    :param done_key: tokens done since ever, counted up by the workers.
    :param clock: Unix time in seconds.
    """

    def __init__(
        self, redis: "Redis", queue: str, *, oldest_key: str, done_key: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._redis, self._queue, self._clock = redis, queue, clock
        self._keys = (oldest_key, done_key)

    def look(self) -> Waiting:
        """:raises OSError: if Redis does not answer."""
        from redis.exceptions import RedisError

        try:
            asked = self._redis.pipeline(transaction=False)
            asked.llen(self._queue)
            asked.mget(self._keys)
            messages, (oldest, done) = asked.execute()
        except RedisError as error:
            raise ConnectionError(f"Redis did not say how long the queue {self._queue} is: {error}") from error
        # without a message nothing waits, whatever a key says that was not taken away
        waited_s = self._clock() - float(oldest) if oldest is not None and messages else 0.0
        return Waiting(messages=messages, oldest_age_s=max(waited_s, 0.0), done_tokens=float(done or 0))


class QueueAutoscaler(Autoscaler):  # type: ignore[misc]
    """Resizes its worker's pool as `decide` says. Celery's `--autoscale MAX,MIN` narrows the policy's bounds.

    A pool keeps one process, since Celery can't run one without; to zero goes what starts whole workers.

    :param watch: the queue that this worker takes from.
    :param tokens_per_message: that a message stands for on average.
    :param look_every_s: no more often is the queue looked at, however many messages come.
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
        tokens_per_message: float,
        look_every_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # prefork gets its `grow` and `shrink` only when it starts
        if not hasattr(pool, "grow") and not isinstance(pool, PreforkPool):
            raise SettingsError(
                f"the pool {type(pool).__module__} can't grow or shrink",
                where="--autoscale",
                remedy="Start the worker with `--pool prefork`, or leave --autoscale out and scale whole workers",
            )
        # on an event loop Celery calls each `keepalive` seconds
        super().__init__(pool, max_concurrency, min_concurrency, worker, keepalive or look_every_s, mutex)
        self._watch, self._policy, self._tokens_per_message = watch, policy, tokens_per_message
        self._look_every_s, self._clock = look_every_s, clock
        self._looked_s: float | None = None
        self._meter = Meter()
        self.decision: Decision | None = None

    def _maybe_scale(self, req: Any = None) -> bool:
        now_s = self._clock()
        if self._looked_s is not None and now_s - self._looked_s < self._look_every_s:
            return False
        self._looked_s = now_s
        try:
            waiting = self._watch.look()
        except OSError as error:
            _logger.warning("The pool keeps its %d processes: %s", self.processes, error)
            return False
        self._meter = self._meter.add(self._sample(waiting, now_s))
        self.decision, self._meter = self._meter.decided(self._bounds())
        more: int = self.decision.workers - self.processes
        if more:
            _logger.info("Pool from %d to %d: %s", self.processes, self.decision.workers, self.decision.reason)
        if more > 0:
            self._grow(more)
        elif more < 0:
            self._shrink(-more)
        return more != 0

    def _sample(self, waiting: Waiting, now_s: float) -> Sample:
        running = len(state.active_requests)
        # messages that this worker has taken and not begun wait just as much
        messages = waiting.messages + max(len(state.reserved_requests) - running, 0)
        return Sample(
            at_s=now_s,
            backlog_tokens=messages * self._tokens_per_message,
            oldest_age_s=waiting.oldest_age_s,
            done_tokens=waiting.done_tokens,
            workers=self.processes,
            busy_workers=min(running, self.processes),
        )

    def _bounds(self) -> Policy:
        most = max(min(self.max_concurrency, self._policy.max_workers), 1)
        least = min(max(self.min_concurrency, self._policy.min_workers, 1), most)
        return self._policy.model_copy(update={"min_workers": least, "max_workers": most})
