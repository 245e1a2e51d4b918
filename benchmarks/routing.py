"""How well does a trained router tell which questions need the strong model, and how long does it take? JSON last.

    python benchmarks/routing.py [--outcomes FILE.jsonl] [--out FILE.json]

It calls what `ragsaver eval route --folds 5 --json` calls, and judges the same outcomes by chance in the same run: the
mean of many random orders, with the 95th percentile of them. APGR is defined in `docs/explanation`. `router_ms` is a
decision's time from the question's text and its embedding, not counting the embedding.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ragsaver.eval.route import FOLDS, evaluate_route
from ragsaver.eval.route_outcomes import apgr, calls_for, read_outcomes, recovered
from ragsaver.settings import Settings

APGR_GOAL, ROUTER_MS_LIMIT = 0.65, 2.0
ORDERS, SEED = 200, 0


def main() -> None:
    """Cross-validate, judge by chance, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--outcomes", type=Path, default=Path("../shared/data/routing/mmlu.jsonl"))
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    report = evaluate_route(given.outcomes, Settings(), FOLDS, looked_at)
    result = {
        **report.model_dump(),
        "folds": FOLDS,
        "random": by_chance(given.outcomes),
        "load": round(os.getloadavg()[0], 1),
        "apgr_goal": APGR_GOAL,
        "router_ms_limit": ROUTER_MS_LIMIT,
        "ok": report.apgr >= APGR_GOAL and report.router_ms <= ROUTER_MS_LIMIT,
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def by_chance(outcomes: Path) -> dict[str, Any]:
    """The same figures of questions in random orders."""
    gain, dice = read_outcomes(outcomes).gain, np.random.default_rng(SEED)
    curves = [recovered(dice.random(len(gain)), gain) for _ in range(ORDERS)]
    reached = [apgr(curve) for curve in curves]
    return {
        "orders": ORDERS,
        "apgr": round(float(np.mean(reached)), 4),
        "apgr_p95": round(float(np.quantile(reached, 0.95)), 4),
        "cpt50": round(float(np.mean([calls_for(curve, 0.5) for curve in curves])), 4),
        "cpt80": round(float(np.mean([calls_for(curve, 0.8) for curve in curves])), 4),
    }


def looked_at(done: int, of: int) -> None:
    """A word of progress."""
    print(f"{done} of {of} questions", end="\r", file=sys.stderr)


if __name__ == "__main__":
    main()
