"""Hard questions: recorded answers of a weak and a strong model, routed by routers that never saw them."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xxhash
from cost_traffic import Answered, Question
from numpy.typing import NDArray

from ragsaver.components.prompt_builder import INSTRUCTIONS
from ragsaver.components.route_features import SHAPE
from ragsaver.components.router_curve import places_of
from ragsaver.eval.route import look, trained
from ragsaver.eval.route_fitting import Seen, folds
from ragsaver.eval.route_outcomes import Outcomes, read_outcomes
from ragsaver.eval.route_signs import signs_by
from ragsaver.pipelines.engine import QueryEngine
from ragsaver.spend.prices import PriceBook

FOLDS, ANSWER_TOKENS = 5, 120
ROUTER = "router.json"


@dataclass(frozen=True)
class Routed:
    """Hard questions, and who answers them.

    :ivar hard: which of the outcomes they are; the others are document questions.
    :ivar strong: whom the router sends to the strong model.
    """

    outcomes: Outcomes
    hard: NDArray[np.bool_]
    strong: NDArray[np.bool_]
    tokens: NDArray[np.float64]

    def answered(
        self, weak: str, strong: str, evidence_tokens: float, *, routed: bool, handed_on: bool = True
    ) -> Answered:
        """What the hard ones cost with so much evidence, by the strong model alone or as they are routed.

        :param handed_on: the check hands all of the weak model's answers on to the strong one: the most that it can
            cost. What is right is left as if it handed on none, which is the worst that can come of it.
        """
        prices, sent = PriceBook(), self.strong | (not routed)

        def dollars(name: str) -> NDArray[np.float64]:
            price = prices.price(name)
            asked = (self.tokens + evidence_tokens) * float(price.input_per_mtok)
            return np.asarray((asked + ANSWER_TOKENS * float(price.output_per_mtok)) / 1e6)

        usd = np.where(sent, dollars(strong), dollars(weak) + handed_on * dollars(strong))
        right = np.where(sent, self.outcomes.strong, self.outcomes.weak)
        return Answered(usd[self.hard], right[self.hard], np.full(int(self.hard.sum()), evidence_tokens))


def recorded(file: Path, count: int, documents: Sequence[Question], seed: int) -> list[str]:
    """Rows of outcomes: some that were recorded, and document questions, which both models answer by assumption.

    :param count: of recorded ones.
    """
    rows = file.read_text(encoding="utf-8").splitlines()
    some = [rows[n] for n in np.random.default_rng(seed).permutation(len(rows))[:count]]
    assumed = [{"query": one.text, "weak_ok": True, "strong_ok": True, "group": "documents"} for one in documents]
    return [*some, *map(json.dumps, assumed)]


def routed(
    rows: Sequence[str],
    folder: Path,
    engine: QueryEngine,
    min_quality: float,
    kept: Path | None,
) -> Routed:
    """Route them, each fold by a router that was trained on the others and its threshold chosen there.

    The first fold's router is left in the folder, for document questions that are none of the rows.

    :param engine: looks for all of them: what is found is learned from.
    :param kept: what is seen of them, kept between runs.
    """
    encoder = engine.resources.encoder
    outcomes, seen = _look(_read(rows, folder), engine, kept)
    fold = folds(outcomes.groups, FOLDS)
    strong = np.zeros(len(fold), dtype=bool)
    for part in range(FOLDS):
        mine = fold == part
        router = trained(outcomes.only(~mine), seen.only(~mine), encoder)
        step = router.step_for(min_quality, None)
        raw = router.weights.chances(seen.vectors[mine], seen.counted[mine])
        strong[mine] = places_of(router.losses(raw), step.above) > 0
        print(f"router {part}: {step}", file=sys.stderr)
        if part == 0:
            (folder / ROUTER).write_text(router.model_dump_json() + "\n", encoding="utf-8")
    hard = np.array([json.loads(row)["group"] != "documents" for row in rows])
    tokens = np.array(encoder.count_tokens(list(outcomes.queries))) + encoder.count_tokens([INSTRUCTIONS])[0]
    return Routed(outcomes, hard, strong, tokens.astype(np.float64))


def shares_sent(found: Routed) -> Mapping[str, float]:
    """Of the hard questions and of the document questions beside them, the share that the strong model gets."""
    return {
        "hard": round(float(found.strong[found.hard].mean()), 3),
        "documents": round(float(found.strong[~found.hard].mean()), 3) if (~found.hard).any() else 0.0,
    }


def _look(outcomes: Outcomes, engine: QueryEngine, kept: Path | None) -> tuple[Outcomes, Seen]:
    budget = engine.resources.settings.context.budget_tokens
    of = xxhash.xxh3_64_hexdigest("\n".join([str(budget), *outcomes.queries]).encode())
    if kept and kept.exists():
        with np.load(kept) as file:
            if file["of"] == of:
                seen = Seen(file["vectors"].astype(np.float64), file["counted"])
                return replace(outcomes, found=seen.counted[:, len(SHAPE) :]), seen

    def tell(done: int, of: int) -> None:
        if done % 1000 == 0:
            print(f"looked at {done} of {of}", file=sys.stderr)

    outcomes = replace(outcomes, found=signs_by(engine, outcomes, tell))
    seen = look(outcomes, engine.resources.encoder, tell)
    if kept:
        np.savez(kept, of=of, vectors=seen.vectors.astype(np.float32), counted=seen.counted)
    return outcomes, seen


def _read(rows: Sequence[str], folder: Path) -> Outcomes:
    file = folder / "outcomes.jsonl"
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return read_outcomes(file)
