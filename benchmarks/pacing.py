"""What does pacing make of a month with bursts, beside no budget and a hard cut-off? JSON on the last line.

Questions and whether the weak and the strong model answered them rightly are recorded (routing/mmlu.jsonl); each is
judged by a router that did not see it. Pressure, ladder, the router's threshold and the prices are RAGSaver's own; the
traffic is simulated, and so are the tokens: the question's own, and a context and an answer of fixed lengths. The free
tier has no evidence here, so an answer of its rung counts as wrong. No answer is escalated or cached.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragsaver.settings import PacingSettings, Settings, quiet_haystack

MONTH = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
DAYS, DAY_S, HOUR_S = 30, 86_400, 3600
WEAK, STRONG = "mixtral-8x7b-32768", "gpt-4-1106-preview"
CONTEXT_TOKENS, ANSWER_TOKENS, LONGEST_TOKENS = 1000, 150, 512
SHARES = (0.8, 0.6, 0.4, 0.05)
BURSTS, BURST_HOURS, BURST_FACTOR = 6, 6, 10


@dataclass
class Month:
    """What came of a month under one policy; arrays have one entry for each day."""

    limit: int | None
    spent: int = 0
    served: dict[str, int] = field(default_factory=dict)
    right: dict[str, int] = field(default_factory=dict)
    asked_on: NDArray[np.int64] = field(default_factory=lambda: np.zeros(DAYS, dtype=np.int64))
    right_on: NDArray[np.int64] = field(default_factory=lambda: np.zeros(DAYS, dtype=np.int64))
    refused_on: NDArray[np.int64] = field(default_factory=lambda: np.zeros(DAYS, dtype=np.int64))

    def told(self) -> dict[str, Any]:
        """For the report."""
        asked = int(self.asked_on.sum())
        return {
            "spent_usd": round(self.spent / 1e6, 2),
            "budget_used": None if self.limit is None else round(self.spent / self.limit, 4),
            "served": {name: round(count / asked, 4) for name, count in sorted(self.served.items())},
            "right_of_served": {
                name: round(self.right.get(name, 0) / count, 4) for name, count in sorted(self.served.items())
            },
            "right": round(int(self.right_on.sum()) / asked, 4),
            "right_on_the_worst_day": round(float((self.right_on / self.asked_on).min()), 4),
            "refused": round(int(self.refused_on.sum()) / asked, 4),
            "days_with_refusals": int((self.refused_on > 0).sum()),
            "days_without_any_answer": int((self.refused_on == self.asked_on).sum()),
        }


def main() -> None:
    """Judge the questions once, then play the month."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments.add_argument("--questions", type=int, default=20_000, help="that come in the month")
    arguments.add_argument("--recorded", type=int, default=4_000, help="of the set, drawn at random, that they are of")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    quiet_haystack()
    from ragsaver.components.router_curve import Curve, cheapest_for
    from ragsaver.eval.route import FOLDS, look
    from ragsaver.eval.route_fitting import curve, folds, left_out
    from ragsaver.eval.route_outcomes import read_outcomes
    from ragsaver.models.registry import load_encoder
    from ragsaver.spend.money import charged
    from ragsaver.spend.prices import PriceBook

    outcomes = read_outcomes(given.data / "routing" / "mmlu.jsonl")
    outcomes = outcomes.only(np.random.default_rng(0).permutation(len(outcomes.queries))[: given.recorded])
    encoder = load_encoder(Settings().embedding)
    unseen = left_out(look(outcomes, encoder, lambda *_: None), outcomes, folds(outcomes.groups, FOLDS))
    gains = unseen[:, 1] - unseen[:, 0]
    # Of a trained router only its curve is asked: the gains are those of routers that left the question out.
    steps = curve(gains[:, None], outcomes)
    router, target = Curve(steps), cheapest_for(steps, min_quality=0.95, max_calls=None, max_cost=None)

    book = PriceBook.of(Settings().spend)
    tokens = np.array(encoder.count_tokens(list(outcomes.queries))) + CONTEXT_TOKENS
    prices = [book.price(name) for name in (WEAK, STRONG)]
    cost, worst = (
        np.array([[charged(price.cost(input=int(n), output=out)) for price in prices] for n in tokens])
        for out in (ANSWER_TOKENS, LONGEST_TOKENS)
    )
    rng = np.random.default_rng(given.seed)
    at = traffic(rng, given.questions)
    drawn = rng.integers(len(gains), size=len(at))
    ok = np.stack([outcomes.weak, outcomes.strong], axis=1) > 0.5

    def play(limit: int | None, wishes: PacingSettings | None) -> Month:
        return month(
            zip(at.tolist(), drawn.tolist(), strict=True), router, target, gains, ok, cost, worst, limit, wishes
        )

    free = play(None, None)
    report: dict[str, Any] = {
        "questions": len(at),
        "recorded": len(outcomes.queries),
        "seed": given.seed,
        "models": {"weak": WEAK, "strong": STRONG, "prices": book.version, "known": [price.known for price in prices]},
        "right_alone": [round(float(one.mean()), 4) for one in (outcomes.weak, outcomes.strong)],
        "usd_per_answer": [round(float(mean) / 1e6, 6) for mean in cost.mean(axis=0)],
        "no_budget": free.told(),
        "budgets": {},
    }
    for share in SHARES:
        limit = round(free.spent * share)
        report["budgets"][str(share)] = {
            "limit_usd": round(limit / 1e6, 2),
            "hard_cut_off": play(limit, None).told(),
            "pacing": play(limit, PacingSettings()).told(),
        }
    if given.out:
        given.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))


def traffic(rng: np.random.Generator, questions: int) -> NDArray[np.float64]:
    """Moments at which questions come: by day more than by night, at weekends fewer, and in bursts, in seconds since
    the epoch.
    """
    hours = np.arange(DAYS * 24)
    rate = 1 + 0.8 * np.sin((hours % 24 - 8) / 24 * 2 * np.pi)
    rate[(hours // 24 + datetime.fromtimestamp(MONTH, UTC).weekday()) % 7 >= 5] *= 0.4
    for start in rng.integers(0, len(hours) - BURST_HOURS, BURSTS):
        rate[start : start + BURST_HOURS] *= BURST_FACTOR
    came = rng.choice(len(hours), questions, p=rate / rate.sum())
    return np.asarray(np.sort(MONTH + (came + rng.random(questions)) * HOUR_S))


def month(
    asked: Iterator[tuple[float, int]],
    router: Any,
    target: Any,
    gains: NDArray[np.float64],
    ok: NDArray[np.bool_],
    cost: NDArray[np.int64],
    worst: NDArray[np.int64],
    limit: int | None,
    wishes: PacingSettings | None,
) -> Month:
    """Play it.

    :param asked: when, and which question.
    :param router: its curve; `target` is the point of it that questions are routed by.
    :param ok: (questions, 2) whether the weak and the strong model are right.
    :param cost: (questions, 2) micro-dollars; `worst` what is held before.
    :param wishes: None for a hard cut-off.
    """
    from ragsaver.spend.budgets import Standing, Window, period_at
    from ragsaver.spend.pacing import UNPRESSED, Service, pace_of

    window = Window("total", "", "month", *period_at("month", MONTH))
    done = Month(limit)
    fits: Callable[[int], bool] = lambda held: limit is None or done.spent + held <= limit  # noqa: E731
    for at, question in asked:
        pace = UNPRESSED
        if limit is not None and wishes is not None:
            pace = pace_of([Standing(window, done.spent, 0)], {window.id: limit}, wishes, at)
        day = int((at - MONTH) // DAY_S)
        done.asked_on[day] += 1
        tier = int(gains[question] > router.part_of(target, pace.strong).above and pace.strong > 0)
        if tier == 1 and not fits(worst[question, 1]):
            tier = 0
        if pace.service >= Service.CACHED:
            done.refused_on[day] += 1
            continue
        if pace.service >= Service.EXTRACTIVE or not fits(worst[question, tier]):
            if wishes is None:
                done.refused_on[day] += 1
            else:
                done.served["extractive"] = done.served.get("extractive", 0) + 1
            continue
        name = "strong" if tier else "weak"
        done.spent += int(cost[question, tier])
        done.served[name] = done.served.get(name, 0) + 1
        right = bool(ok[question, tier])
        done.right[name] = done.right.get(name, 0) + right
        done.right_on[day] += right
    return done


if __name__ == "__main__":
    main()
