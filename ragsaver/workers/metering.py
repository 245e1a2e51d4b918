"""What the queue and the workers did lately: the rates that a decision about workers needs, from counters.

Sums that fade: of arrivals and use with time, so that an hour ago no longer counts; of throughput with work, since an
idle hour says nothing about how fast a worker is.
"""

import math
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from ragsaver.workers.scaling import Decision, Observed, Policy, decide


class Sample(BaseModel):
    """Counters at one moment. Those of what is done only grow (a smaller one is a restart of the counter).

    :ivar measured_tokens: that were really embedded, where `done_tokens` is an estimate of them: what waits and arrives
        is estimated in the same way, so it is as wrong. 0 where nobody measures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    at_s: float
    backlog_tokens: float = Field(ge=0)
    oldest_age_s: float = Field(ge=0)
    done_tokens: float = Field(ge=0)
    measured_tokens: float = Field(default=0, ge=0)
    workers: int = Field(ge=0)
    busy_workers: int = Field(ge=0)


# whether a worker is busy is seen at single moments: of less work than this no throughput can be read
_ENOUGH_WORK_S = 60.0
_WORK_REMEMBERED_S = 1_800.0


class Meter(BaseModel):
    """Rates until the last sample; a new one for each sample. `window_s` is how fast arrivals and use fade."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_s: float = Field(default=120, gt=0)
    last: Sample | None = None
    span_s: float = 0
    arrived_tokens: float = 0
    done_tokens: float = 0
    measured_tokens: float = 0
    done_in_s: float = 0
    busy_s: float = 0
    worker_s: float = 0
    surplus_since_s: float | None = None

    def add(self, sample: Sample) -> Self:
        """A meter that has seen `sample` too."""
        if self.last is None:
            return self.model_copy(update={"last": sample})
        span_s = max(sample.at_s - self.last.at_s, 0.0)
        kept = math.exp(-span_s / self.window_s)
        done = max(sample.done_tokens - self.last.done_tokens, 0.0)
        measured = max(sample.measured_tokens - self.last.measured_tokens, 0.0)
        arrived = max(sample.backlog_tokens - self.last.backlog_tokens + done, 0.0)
        busy_s = min(sample.busy_workers, sample.workers) * span_s
        remembered = math.exp(-busy_s / _WORK_REMEMBERED_S)
        return self.model_copy(
            update={
                "last": sample,
                "span_s": self.span_s * kept + span_s,
                "arrived_tokens": self.arrived_tokens * kept + arrived,
                "done_tokens": self.done_tokens * remembered + done,
                "measured_tokens": self.measured_tokens * remembered + measured,
                "done_in_s": self.done_in_s * remembered + busy_s,
                "busy_s": self.busy_s * kept + busy_s,
                "worker_s": self.worker_s * kept + sample.workers * span_s,
            }
        )

    def observed(self) -> Observed:
        """The last sample with the rates. :raises ValueError: before the first sample."""
        if self.last is None:
            raise ValueError("a meter without a sample has nothing to say")
        now_s = self.last.at_s
        done = self.measured_tokens or self.done_tokens
        true = _rate(done, self.done_tokens) or 1.0
        return Observed(
            workers=self.last.workers,
            backlog_tokens=self.last.backlog_tokens * true,
            oldest_age_s=self.last.oldest_age_s,
            arriving_tokens_per_s=_rate(self.arrived_tokens, self.span_s) * true,
            tokens_per_worker_s=_rate(done, self.done_in_s) if self.done_in_s >= _ENOUGH_WORK_S else 0.0,
            utilisation=min(_rate(self.busy_s, self.worker_s), 1.0) if self.last.busy_workers else 0.0,
            surplus_s=0.0 if self.surplus_since_s is None else max(now_s - self.surplus_since_s, 0.0),
        )

    def decided(self, policy: Policy) -> tuple[Decision, Self]:
        """Decide, and remember since when there are more workers than needed."""
        observed = self.observed()
        decision = decide(observed, policy)
        since = self.surplus_since_s
        if not decision.surplus or decision.workers != observed.workers:
            since = None
        elif since is None and self.last is not None:
            since = self.last.at_s
        return decision, self.model_copy(update={"surplus_since_s": since})


def _rate(amount: float, seconds: float) -> float:
    return amount / seconds if seconds > 0 else 0.0
