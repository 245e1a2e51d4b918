"""What does a day of mixed traffic cost, by the plain recipe and by RAGSaver, lever by lever? JSON on the last line.

Two kinds of questions:

- *document questions* (SQuAD): asked of an ingested corpus through the real pipeline, over HTTP, of an endpoint whose
  answers are SIMULATED: it finds the gold answer wherever the evidence holds it, whichever model is asked. So these
  show whether the evidence got worse, never whether a cheaper model reads worse. An answer counts if a gold answer is
  in it.
- *hard questions* (MMLU): recorded answers of a weak and a strong model (Mixtral-8x7B, GPT-4-1106), right or wrong,
  that the router has not seen (five folds). They have the same evidence as document questions have in the mean.

Some of the document questions are repeated, as they are or with other case and spaces. The plain recipe sends ten whole
passages and the question to the strong model, each time. Levers are added one after the other: what each saves depends
on those before it. Prices are those of the two models whose answers were recorded, from the shipped price list.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulated_endpoint import Reader, plain, simulated_endpoint

from ragsaver.components.prompt_builder import INSTRUCTIONS, PromptBuilder
from ragsaver.components.resources import Resources
from ragsaver.components.retriever import HybridRetriever
from ragsaver.eval.dataset import Dataset, load_dataset
from ragsaver.eval.harness import indexed
from ragsaver.eval.route import look
from ragsaver.eval.route_fitting import folds, left_out
from ragsaver.eval.route_outcomes import Outcomes, read_outcomes
from ragsaver.models.protocol import Encoder
from ragsaver.models.registry import load_encoder
from ragsaver.pipelines.runtime import Runtime
from ragsaver.settings import Settings
from ragsaver.spend.prices import PriceBook

WEAK, STRONG = "mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview"
PASSAGES, HARD_ANSWER_TOKENS, SAVING_GOAL = 10, 120, 0.8
SEED, FOLDS = 5, 5
REPEATED, HARD = 0.3, 0.1  # of all requests
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
PLAIN, PACKING, ROUTING, FREE = "plain", "packing", "small model first", "free tier"


@dataclass(frozen=True)
class Spent:
    """Dollars a question, and the share that was answered rightly."""

    usd: float
    right: float


Steps = dict[str, Spent]


def main() -> None:
    """Ask the document questions under each set of levers, route the hard ones, and put the mix together."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--squad", type=Path, default=Path("../shared/data/squad"))
    arguments.add_argument("--outcomes", type=Path, default=Path("../shared/data/routing/mmlu.jsonl"))
    arguments.add_argument("--questions", type=int, default=600, help="different document questions")
    arguments.add_argument("--hard-questions", type=int, default=4000)
    arguments.add_argument("--budget-tokens", type=int, default=1200)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    dataset = load_dataset(given.squad)
    documents, evidence, hits = document_questions(dataset, given.questions, given.budget_tokens)
    hard, to_strong = hard_questions(given.outcomes, given.hard_questions, evidence)
    result = put_together(documents, hard, hits) | {
        "document_questions": given.questions,
        "hard_questions": given.hard_questions,
        "hard_to_strong": round(to_strong, 3),
        "repeats_answered_by_cache": hits,
        "budget_tokens": given.budget_tokens,
        "evidence_tokens": {name: round(tokens) for name, tokens in evidence.items()},
        "models": {"weak": WEAK, "strong": STRONG},
        "prices": PriceBook().version,
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def document_questions(dataset: Dataset, count: int, budget_tokens: int) -> tuple[Steps, dict[str, float], float]:
    """What a question costs that was not asked before, lever after lever; the evidence's tokens; hits of repeats."""
    dice = np.random.default_rng(SEED)
    answerable = [query for query in dataset.queries if query.answers]
    chosen = [answerable[n] for n in dice.permutation(len(answerable))[:count]]
    answers = {query.text.strip(): list(query.answers) for query in chosen}
    reader = Reader(answers, load_encoder(Settings().embedding).count_tokens)
    with (
        simulated_endpoint(reader) as url,
        tempfile.TemporaryDirectory() as folder,
        indexed(dataset, settings_of(Path(folder), url, budget_tokens)) as runtime,
    ):
        steps, evidence = {}, {}
        steps[PLAIN], evidence[PLAIN] = plain_recipe(runtime, reader, answers)
        for name, models, free in (
            (PACKING, [STRONG], False),
            (ROUTING, [WEAK, STRONG], False),
            (FREE, [WEAK, STRONG], True),
        ):
            home = Path(folder) / name
            home.mkdir()
            settings = settings_of(home, url, budget_tokens, models, free=free)
            steps[name], evidence[PACKING], hits = asked(runtime, settings, answers)
            print(name, steps[name], file=sys.stderr)
    return steps, evidence, hits


def settings_of(
    home: Path, url: str, budget_tokens: int, models: Sequence[str] = (STRONG,), *, free: bool = False
) -> Settings:
    """A project with these models at the simulated endpoint."""
    return Settings.model_validate(
        {
            "home": home,
            "context": {"budget_tokens": budget_tokens},
            "generation": {
                "models": [{"name": name, "base_url": url, "api_key": "none"} for name in models],
                "extractive_first": free,
            },
            "spend": {"fuse": {"enabled": False}},  # a day within minutes is what it is there to stop
        }
    )


def plain_recipe(runtime: Runtime, reader: Reader, answers: Mapping[str, Sequence[str]]) -> tuple[Spent, float]:
    """Ten whole passages to the strong model, and the tokens of these passages in the mean."""
    retriever, builder, price = HybridRetriever(), PromptBuilder(), PriceBook().price(STRONG)
    retriever.bind(runtime.resources)
    cost, right, evidence = Decimal(0), 0, 0
    for question, gold in answers.items():
        passages = list(retriever.run(question, top_k=PASSAGES)["documents"])
        messages = builder.run(question, passages)["messages"]
        said, prompt, answered = reader.reply([message.text or "" for message in messages])
        cost += price.cost(input=prompt, output=answered)
        right += holds(said, gold)
        evidence += sum(runtime.encoder.count_tokens([passage.content or "" for passage in passages]))
    return Spent(float(cost) / len(answers), right / len(answers)), evidence / len(answers)


def asked(runtime: Runtime, settings: Settings, answers: Mapping[str, Sequence[str]]) -> tuple[Spent, float, float]:
    """Ask each question once, then again a little differently.

    :returns: dollars of the receipts and right answers of the first time, the tokens packed, and the share of the
        second time that a cache answered.
    """
    of = runtime.resources
    resources = Resources(settings, of.index, of.encoder, of.prices, of.ownership, of.store)
    engine = Runtime(resources).engine()
    try:
        first = [engine.ask(question) for question in answers]
        again = [engine.ask(f"  {question[0].lower()}{question[1:]} ") for question in answers]
    finally:
        resources.till.close()
        resources.caches.close()
    cost = sum((result.receipt.cost_usd for result in first), Decimal(0))
    right = [holds(result.answer or "", gold) for gold, result in zip(answers.values(), first, strict=True)]
    packed = [line.quantity for result in first for line in result.receipt.lines if line.item == "context packed"]
    hits = [result.route.cache == "hit" and not result.receipt.cost_usd for result in again]
    return Spent(float(cost) / len(first), float(np.mean(right))), float(np.mean(packed)), float(np.mean(hits))


def holds(answer: str, gold: Sequence[str]) -> bool:
    """Whether a gold answer stands in it."""
    return any(plain(one) in plain(answer) for one in gold)


def hard_questions(file: Path, count: int, evidence: Mapping[str, float]) -> tuple[Steps, float]:
    """What a hard question costs, lever after lever, and the share that goes to the strong model."""
    rows = file.read_text(encoding="utf-8").splitlines()
    some = np.random.default_rng(SEED).permutation(len(rows))[:count]
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "outcomes.jsonl"
        part.write_text("\n".join(rows[n] for n in some) + "\n", encoding="utf-8")
        outcomes = read_outcomes(part)
    encoder = load_encoder(Settings().embedding)
    seen = look(outcomes, encoder, lambda done, of: None)
    fold = folds(outcomes.groups, FOLDS)
    chances = left_out(seen, outcomes, fold)
    strong = sent_to_strong(chances[:, 1] - chances[:, 0], fold, outcomes)
    asked_tokens = np.array(encoder.count_tokens(list(outcomes.queries))) + evidence_overhead(encoder)
    prices = PriceBook()

    def dollars(name: str, tokens: float) -> NDArray[np.float64]:
        price = prices.price(name)
        each = (asked_tokens + tokens) * float(price.input_per_mtok) + HARD_ANSWER_TOKENS * float(price.output_per_mtok)
        return np.asarray(each / 1e6)

    packed = evidence[PACKING]
    by_strong, by_weak = dollars(STRONG, packed), dollars(WEAK, packed)
    right = float(outcomes.strong.mean())
    routed = Spent(
        float(np.where(strong, by_strong, by_weak).mean()),
        float(np.where(strong, outcomes.strong, outcomes.weak).mean()),
    )
    steps = {
        PLAIN: Spent(float(dollars(STRONG, evidence[PLAIN]).mean()), right),
        PACKING: Spent(float(by_strong.mean()), right),
        ROUTING: routed,
        FREE: routed,
    }
    return steps, float(strong.mean())


def sent_to_strong(gains: NDArray[np.float64], fold: NDArray[np.int64], outcomes: Outcomes) -> NDArray[np.bool_]:
    """Whom a router sends to the strong model, to be right as often as that: each fold by the others' threshold."""
    sent = np.zeros(len(gains), dtype=bool)
    for part in range(FOLDS):
        others = fold != part
        order = np.argsort(-gains[others], kind="stable")
        gained = np.cumsum(outcomes.gain[others][order])
        needed = int(np.argmax(gained >= outcomes.gain[others].sum()))
        sent[~others] = gains[~others] >= gains[others][order][needed]
    return sent


def evidence_overhead(encoder: Encoder) -> int:
    """Tokens of the instructions."""
    return encoder.count_tokens([INSTRUCTIONS])[0]


def put_together(documents: Steps, hard: Steps, hits: float) -> dict[str, Any]:
    """The mix: what each lever saves of the plain recipe's money, what becomes of the answers, and the curves."""

    def of(step: str, repeated: float, share_hard: float, *, cached: bool) -> Spent:
        paid = 1 - share_hard - (repeated * hits if cached else 0.0)
        usd = paid * documents[step].usd + share_hard * hard[step].usd
        return Spent(usd, (1 - share_hard) * documents[step].right + share_hard * hard[step].right)

    plain_way = of(PLAIN, REPEATED, HARD, cached=False)
    levers, before = [], plain_way
    for name, step in (("answer cache", PLAIN), (PACKING, PACKING), (ROUTING, ROUTING), (FREE, FREE)):
        now = of(step, REPEATED, HARD, cached=True)
        levers.append(
            {
                "lever": name,
                "saved_share": round((before.usd - now.usd) / plain_way.usd, 4),
                "right": round(now.right, 4),
                "right_change": round(now.right - before.right, 4),
            }
        )
        before = now

    def saving(repeated: float, share_hard: float, step: str = ROUTING) -> float:
        return round(
            1 - of(step, repeated, share_hard, cached=True).usd / of(PLAIN, repeated, share_hard, cached=False).usd, 4
        )

    best = of(ROUTING, REPEATED, HARD, cached=True)
    return {
        "mix": {"repeated": REPEATED, "hard": HARD},
        "usd_per_1000": {"plain": round(plain_way.usd * 1000, 3), "ragsaver": round(best.usd * 1000, 3)},
        "right": {"plain": round(plain_way.right, 4), "ragsaver": round(best.right, 4)},
        "levers": levers,
        "saved": saving(REPEATED, HARD),
        "saved_by_repeated": {str(share): saving(share, HARD) for share in SHARES},
        "saved_by_hard": {str(share): saving(REPEATED, share) for share in SHARES},
        "saved_none_repeated_by_hard": {str(share): saving(0.0, share) for share in SHARES},
        "saved_with_free_tier": saving(REPEATED, HARD, FREE),
        "goal": SAVING_GOAL,
        "by_kind": {
            kind: {
                name: {"usd_per_1000": round(one.usd * 1000, 3), "right": round(one.right, 4)}
                for name, one in steps.items()
            }
            for kind, steps in (("documents", documents), ("hard", hard))
        },
        "ok": saving(REPEATED, HARD) >= SAVING_GOAL and best.right >= plain_way.right,
    }


if __name__ == "__main__":
    main()
