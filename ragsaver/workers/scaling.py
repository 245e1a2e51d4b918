"""How many ingestion workers are enough: neither a late document nor a worker that waits for work.

Decided from the age of the oldest waiting document, the tokens that wait and arrive, and what a busy worker does in
a second. The CPU says nothing here: it is as busy with ten waiting documents as with ten thousand.
"""

import math

from pydantic import BaseModel, ConfigDict, Field

from ragsaver.errors import UsageError
from ragsaver.settings import ScalingSettings

# past its target age a backlog is to be drained within this share of it, and not at once with endless workers
_SHORTEST_DRAIN = 0.1
_MOST = 1_000_000

# What the fleet is to reach, and its bounds.
Policy = ScalingSettings


class Observed(BaseModel):
    """A queue and its workers at one moment; times in seconds, rates in tokens a second."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    workers: int = Field(ge=0, le=_MOST, description="that run or are being started")
    backlog_tokens: float = Field(ge=0)
    oldest_age_s: float = Field(ge=0, description="0 if nothing waits")
    arriving_tokens_per_s: float = Field(default=0, ge=0)
    tokens_per_worker_s: float = Field(default=0, ge=0, description="of a busy worker; 0 if none was measured")
    utilisation: float = Field(default=0, ge=0, le=1, description="the share of the workers that is busy")
    surplus_s: float = Field(default=0, ge=0, description="for how long fewer workers would have been enough")


class Decision(BaseModel):
    """How many workers there are to be. `surplus`: fewer would do, whether or not some go now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int
    reason: str
    surplus: bool = False


def narrowed(policy: Policy, bounds: str) -> Policy:
    """A policy for one worker's threads.

    :param bounds: `MAX,MIN`, or `MAX` for the policy's own minimum; one thread stays in any case.
    :raises UsageError: if they are no such numbers, or beyond those of the policy.
    """
    own = max(policy.min_workers, 1)
    try:
        most, least, *more = [int(part) for part in (bounds if "," in bounds else f"{bounds},{own}").split(",")]
    except ValueError:
        most, least, more = 0, 0, []
    if more or not own <= least <= most <= policy.max_workers:
        raise UsageError(
            f"`{bounds}` is no MAX,MIN with {own} <= MIN <= MAX <= {policy.max_workers}",
            where="--autoscale",
            remedy="`queue.scaling.min_workers` and `queue.scaling.max_workers` say what is allowed",
        )
    return policy.model_copy(update={"min_workers": least, "max_workers": most})


def decide(observed: Observed, policy: Policy) -> Decision:
    """Say how many workers there are to be, and why.

    Up at once and as far as needed. Down only after `cooldown_s` of surplus, by at most half (the last one may go),
    and never below what would bear `margin` more demand or is busy now. So demand that stays within that margin never
    makes the fleet go down and up again. The result never falls when backlog or age rises.
    """
    now = observed.workers
    load = _load(observed, policy, policy.target_age_s - observed.oldest_age_s)
    needed = _within(_whole(load), policy)
    if needed > now:
        # those to be added do nothing while they start; those being started were counted so when they were ordered
        left_s = policy.target_age_s - observed.oldest_age_s - policy.startup_s
        needed = _within(_whole(_load(observed, policy, left_s)), policy)
    # a throughput measured too high must not dismiss workers that have their hands full
    busy = now * observed.utilisation / policy.target_utilisation
    enough = _within(_whole(max(load, busy) * (1 + policy.margin)), policy)
    bounded = _within(now, policy)
    if needed > now:
        return Decision(workers=needed, reason=_why_more(observed, policy, needed))
    if bounded != now:
        return Decision(workers=bounded, reason=f"{now} workers are more than the {bounded} allowed")
    if enough >= now:
        return Decision(workers=now, reason=f"{_workers(now)} can do what waits and arrives")
    if observed.surplus_s < policy.cooldown_s:
        held = f"{enough} would do, for {observed.surplus_s:.0f} s now: kept until {policy.cooldown_s:.0f} s"
        return Decision(workers=now, reason=held, surplus=True)
    fewer = max(enough, now // 2 if now == 1 else math.ceil(now / 2))
    idle = "nothing waits" if not _waiting(observed) else "what waits and arrives needs fewer"
    return Decision(workers=fewer, reason=f"{idle}, for {observed.surplus_s:.0f} s: {now} to {fewer}", surplus=True)


def _load(observed: Observed, policy: Policy, left_s: float) -> float:
    """Workers, not yet whole ones, that at the target utilisation drain the backlog in what is left and keep up."""
    speed = (observed.tokens_per_worker_s or policy.tokens_per_worker_s) * policy.target_utilisation
    drain_s = max(left_s, policy.target_age_s * _SHORTEST_DRAIN)
    load = (observed.backlog_tokens / drain_s + observed.arriving_tokens_per_s) / max(speed, 1e-9)
    if _waiting(observed):
        return max(load, 1e-9)
    # the last worker may go between two documents, however many arrive an hour: that is what scaling to zero is for
    return load if load > 1 or observed.utilisation > 0 else 0.0


def _waiting(observed: Observed) -> bool:
    return observed.backlog_tokens > 0 or observed.oldest_age_s > 0


def _whole(load: float) -> int:
    return math.ceil(min(load, _MOST))


def _within(workers: int, policy: Policy) -> int:
    return min(max(workers, policy.min_workers), policy.max_workers)


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def _why_more(observed: Observed, policy: Policy, needed: int) -> str:
    if not _waiting(observed) and needed == policy.min_workers:
        return f"at least {_workers(needed)} at any time"
    waits = f"{observed.backlog_tokens:.0f} tokens wait, the oldest for {observed.oldest_age_s:.0f} s"
    goal = f"within {policy.target_age_s:.0f} s at {policy.target_utilisation:.0%} utilisation"
    if needed == policy.max_workers:
        return f"{waits}: {_workers(needed)}, all that are allowed, where more would drain that {goal}"
    return f"{waits}: {_workers(needed)} drain that {goal}"
