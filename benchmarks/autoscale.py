"""A SIMULATION: what do four ways to size a fleet of ingestion workers cost, and how long do documents wait?

A clock that is only counted, seeded arrivals of a bursty day, workers that take a while to start; no worker runs.
RAGSaver's own controller is the code that `ragsaver/workers` holds. JSON on the last line.
"""

import argparse
import heapq
import json
import math
import random
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ragsaver.workers.metering import Meter, Sample
from ragsaver.workers.scaling import Policy

DAY_S = 86_400.0
TICK_S = 15.0
WORKER_TOKENS_PER_S = 5_000.0
TOKENS_MEDIAN, TOKENS_SIGMA = 5_000.0, 0.9
TARGET_AGE_S, TARGET_UTILISATION, MAX_WORKERS = 300.0, 0.8, 24
# of the HPA: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
HPA_TOLERANCE, HPA_STABILISATION_S = 0.1, 300.0


@dataclass(frozen=True)
class Arrival:
    """A document: when it comes, and how many tokens it has."""

    at_s: float
    tokens: float


@dataclass
class Fleet:
    """Workers and their queue at one moment of the simulated day."""

    startup_s: float
    now_s: float = 0.0
    starting: int = 0
    idle: int = 0
    busy: int = 0
    leaving: int = 0
    cancelled: int = 0
    done_tokens: float = 0.0
    waiting_tokens: float = 0.0
    worker_s: float = 0.0
    busy_s: float = 0.0
    queue: deque[Arrival] = field(default_factory=deque)
    events: list[tuple[float, int, str, Arrival | None]] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)
    serial: int = 0

    @property
    def size(self) -> int:
        """Workers that stay; a leaving one is paid for until its document is done."""
        return self.starting + self.idle + self.busy - self.leaving

    def at(self, when_s: float, what: str, document: Arrival | None = None) -> None:
        """Note an event."""
        self.serial += 1
        heapq.heappush(self.events, (when_s, self.serial, what, document))

    def advance(self, to_s: float) -> None:
        """Let time pass, and pay for it."""
        passed_s = to_s - self.now_s
        self.worker_s += (self.starting + self.idle + self.busy) * passed_s
        self.busy_s += self.busy * passed_s
        self.now_s = to_s

    def resize(self, wanted: int) -> None:
        """Order workers, or let some go: those that start first, then idle ones, then busy ones after their work."""
        more = wanted - self.size
        kept = min(max(more, 0), self.leaving)
        self.leaving -= kept
        for _ in range(more - kept):
            self.starting += 1
            self.at(self.now_s + self.startup_s, "ready")
        fewer = max(-more, 0)
        for state in ("starting", "idle"):
            gone = min(fewer, getattr(self, state))
            setattr(self, state, getattr(self, state) - gone)
            fewer -= gone
            if state == "starting":
                self.cancelled += gone
        self.leaving += fewer
        self.give()

    def give(self) -> None:
        """Hand waiting documents to idle workers, oldest first."""
        while self.idle and self.queue:
            document = self.queue.popleft()
            self.waiting_tokens -= document.tokens
            self.idle -= 1
            self.busy += 1
            self.at(self.now_s + document.tokens / WORKER_TOKENS_PER_S, "done", document)

    def happen(self, what: str, document: Arrival | None) -> None:
        """One event."""
        if what == "ready":
            if self.cancelled:
                self.cancelled -= 1
                return
            self.starting -= 1
            self.idle += 1
        elif document and what == "come":
            self.queue.append(document)
            self.waiting_tokens += document.tokens
        elif document:
            self.done_tokens += document.tokens
            self.delays_s.append(self.now_s - document.at_s)
            self.busy -= 1
            if self.leaving:
                self.leaving -= 1
            else:
                self.idle += 1
        self.give()


Sizer = Callable[[Fleet], int]


def fixed(workers: int) -> Sizer:
    """Always as many."""
    return lambda fleet: workers


def ours(startup_s: float, least: int) -> Sizer:
    """RAGSaver's controller."""
    policy = Policy(
        min_workers=least,
        max_workers=MAX_WORKERS,
        target_age_s=TARGET_AGE_S,
        target_utilisation=TARGET_UTILISATION,
        startup_s=startup_s,
        tokens_per_worker_s=WORKER_TOKENS_PER_S,
    )
    meter = Meter()

    def size(fleet: Fleet) -> int:
        nonlocal meter
        oldest_s = fleet.now_s - fleet.queue[0].at_s if fleet.queue else 0.0
        meter = meter.add(
            Sample(
                at_s=fleet.now_s,
                backlog_tokens=max(fleet.waiting_tokens, 0.0) if fleet.queue else 0.0,
                oldest_age_s=oldest_s,
                done_tokens=fleet.done_tokens,
                workers=fleet.size,
                busy_workers=min(fleet.busy, fleet.size),
            )
        )
        decision, meter = meter.decided(policy)
        return decision.workers

    return size


def by_cpu(target: float, window_s: float = HPA_STABILISATION_S) -> Sizer:
    """The HPA's rule on the CPU of the workers that are ready, with its window before it scales down; at least one."""
    recommended: deque[tuple[float, int]] = deque()
    seen = [0.0, 0.0]

    def size(fleet: Fleet) -> int:
        busy_s, seen[0] = fleet.busy_s - seen[0], fleet.busy_s
        span_s, seen[1] = fleet.now_s - seen[1], fleet.now_s
        ready = fleet.idle + fleet.busy
        used = min(busy_s / (span_s * ready), 1.0) if ready and span_s else 0.0
        ratio = used / target
        now = fleet.size
        wanted = now if abs(ratio - 1) <= HPA_TOLERANCE else math.ceil(ready * ratio)
        if ratio > 1:
            # those that start count as idle, and the direction must not turn by it
            wanted = max(wanted, now)
        # its default policy: at most twice as many, or four more, in 15 s
        wanted = min(max(wanted, 1), MAX_WORKERS, max(2 * now, now + 4))
        recommended.append((fleet.now_s, wanted))
        while recommended[0][0] < fleet.now_s - window_s:
            recommended.popleft()
        return wanted if wanted > now else min(now, max(count for _, count in recommended))

    return size


def bursty_day(seed: int) -> list[Arrival]:
    """A day's rhythm with its peak at 14 h, ten bulk loads, and documents of log-normal length."""
    rng = random.Random(seed)
    arrivals = []

    def document(at_s: float) -> Arrival:
        return Arrival(at_s, TOKENS_MEDIAN * math.exp(rng.gauss(0, TOKENS_SIGMA)))

    at_s, fastest = 0.0, 1.6
    while (at_s := at_s + rng.expovariate(fastest)) < DAY_S:
        rhythm = 0.5 + 0.5 * math.cos(2 * math.pi * (at_s / DAY_S - 14 / 24))
        if rng.random() < rhythm**2:
            arrivals.append(document(at_s))
    for _ in range(10):
        start_s, count = rng.uniform(0, DAY_S * 0.95), round(rng.lognormvariate(math.log(2_000), 0.6))
        arrivals += [document(start_s + rng.uniform(0, 120)) for _ in range(count)]
    return sorted((one for one in arrivals if one.at_s < DAY_S), key=lambda one: one.at_s)


def simulate(arrivals: list[Arrival], sizer: Sizer, startup_s: float, first: int) -> Fleet:
    """The day, and after it what still waits."""
    fleet = Fleet(startup_s=startup_s, idle=first)
    for document in arrivals:
        fleet.at(document.at_s, "come", document)
    fleet.at(0.0, "tick")
    while fleet.events:
        when_s, _, what, document = heapq.heappop(fleet.events)
        fleet.advance(when_s)
        if what == "tick":
            fleet.resize(sizer(fleet))
            if when_s < DAY_S or len(fleet.delays_s) < len(arrivals):
                fleet.at(when_s + TICK_S, "tick")
            continue
        fleet.happen(what, document)
    return fleet


def fixed_sizes(arrivals: list[Arrival]) -> tuple[int, int]:
    """Workers for the day's mean, and for the target age's busiest span, at the target utilisation."""
    speed = WORKER_TOKENS_PER_S * TARGET_UTILISATION
    spans: dict[int, float] = {}
    for one in arrivals:
        spans[int(one.at_s // TARGET_AGE_S)] = spans.get(int(one.at_s // TARGET_AGE_S), 0.0) + one.tokens
    mean = sum(spans.values()) / DAY_S / speed
    return math.ceil(mean), math.ceil(max(spans.values()) / TARGET_AGE_S / speed)


def compare(seeds: int, startup_s: float) -> dict[str, dict[str, float]]:
    """The mean over the days of each figure, by strategy."""
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        arrivals = bursty_day(seed)
        mean, peak = fixed_sizes(arrivals)
        strategies = {
            "ragsaver": (ours(startup_s, 0), 0),
            "ragsaver, at least one": (ours(startup_s, 1), 1),
            "fixed for the mean": (fixed(mean), mean),
            "fixed for the peak": (fixed(peak), peak),
            "by CPU (HPA), target 0.8": (by_cpu(TARGET_UTILISATION), 1),
            "by CPU (HPA), target 0.5": (by_cpu(0.5), 1),
            # as short as the controller's cool-down, so that the window alone does not decide
            "by CPU (HPA), target 0.8, window 120 s": (by_cpu(TARGET_UTILISATION, 120.0), 1),
        }
        for name, (sizer, first) in strategies.items():
            fleet = simulate(arrivals, sizer, startup_s, first)
            if len(fleet.delays_s) != len(arrivals):
                raise RuntimeError(f"{name}: {len(arrivals) - len(fleet.delays_s)} documents were lost")
            cuts = statistics.quantiles(fleet.delays_s, n=100)
            within = sum(delay_s <= TARGET_AGE_S for delay_s in fleet.delays_s) / len(arrivals)
            rows.setdefault(name, []).append(
                {
                    "worker_hours": fleet.worker_s / 3600,
                    "utilisation": fleet.busy_s / fleet.worker_s,
                    "delay_p50_s": cuts[49],
                    "delay_p95_s": cuts[94],
                    "delay_max_s": max(fleet.delays_s),
                    "within_target": within,
                }
            )
    return {
        name: {figure: round(statistics.fmean(day[figure] for day in days), 3) for figure in days[0]}
        for name, days in rows.items()
    }


def main() -> None:
    """Compare, for two start-up delays."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--days", type=int, default=3)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    result = {
        "simulation": True,
        "days": given.days,
        "assumed": {
            "tokens_per_worker_s": WORKER_TOKENS_PER_S,
            "tokens_per_document_median": TOKENS_MEDIAN,
            "target_age_s": TARGET_AGE_S,
            "target_utilisation": TARGET_UTILISATION,
            "max_workers": MAX_WORKERS,
        },
        "startup_30_s": compare(given.days, 30.0),
        "startup_120_s": compare(given.days, 120.0),
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
