"""What does a day of mixed traffic cost, by the plain recipe and by RAGSaver, lever by lever? JSON on the last line.

Four kinds of questions, and repeats of the first:

- *document questions* (SQuAD), asked of an ingested corpus through the real pipeline, over HTTP, of an endpoint whose
  answers are SIMULATED: it finds the gold answer wherever the evidence holds it, whichever model is asked. So these
  show whether the evidence got worse, never whether a cheaper model reads worse. An answer counts if a gold answer is
  in it. Repeats are these once more, with other case and spaces.
- *paraphrases* of SQuAD's questions (`tests/data/paraphrases`), likewise.
- *follow-ups* (`tests/data/dialogues`), likewise, with the conversation before them. The plain recipe sends all of it,
  and looks for the question with the earlier ones in front of it; `plain_follow_ups_as_asked` is without.
- *hard questions* (MMLU): RECORDED answers of a weak and a strong model (Mixtral-8x7B, GPT-4-1106), right or wrong,
  routed by routers that have not seen them. They get as much evidence as document questions in the mean. What the check
  of a cheap answer would say of them is not known, for what is recorded are letters without a citation. So all of the
  weak model's answers are paid for as if they were handed on to the strong one, and count as if none were;
  `hard_unchecked` is without.

The plain recipe sends ten whole passages and the question to the strong model, each time. Levers are added one after
the other: what each saves depends on those before it. Prices are those of the models whose answers were recorded.

Of these levers some do little in such a day, and are measured where they matter as well (`long_talks`, `clamp`): what
shortens a conversation, and what bounds an answer. The provider's cache of prompts is SIMULATED (`provider_cache`); the
prices of these two models have no discount for it, so what it would save is told at other models' discounts. The free
tier is asked in a model's place at the end, and is off in what is saved together.

Nothing is chosen by what is scored: the budget of tokens is the smallest that loses nothing on other questions, and a
router's threshold is that for `--min-quality` on the questions that it was trained on, cross-validated there. One
router serves all questions: it is trained on recorded outcomes and on other document questions, which both models
answer by assumption. It sees a question, and what is found for it in the same documents as all the others.

A loss counts as measured if the 95% interval of the difference, paired by question, lies below 0.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cost_hard import ROUTER, recorded, routed, shares_sent
from cost_levers import DISCOUNTED, clamp, discounted, in_long_talks, long_talks
from cost_reading import Asked, Endpoint, Plain, ask_all, budget_curve, engine_of, free_tier_curve
from cost_traffic import (
    DOCUMENTS,
    FOLLOW_UPS,
    HARD,
    PARAPHRASES,
    READ,
    Answered,
    Mix,
    Question,
    day,
    difference,
    none_lost,
)
from provider_cache import ProviderCache
from simulated_endpoint import Reader, simulated_endpoint

from ragsaver.eval.dataset import load_dataset
from ragsaver.eval.harness import indexed
from ragsaver.models.registry import load_encoder
from ragsaver.settings import Settings
from ragsaver.spend.prices import PriceBook

WEAK, STRONG = "mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview"
SAVING_GOAL, SEED = 0.8, 5
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
PLAIN, PACKING, HISTORIES, CLAMP = "plain", "packing", "condensed histories", "output clamp"
ROUTING, SEMANTIC, FREE = "small model first", "semantic cache", "free tier"
TAKEN = (PACKING, HISTORIES, CLAMP, ROUTING)
LEVERS = (("answer cache", PLAIN), *((name, name) for name in TAKEN))
OFF = (SEMANTIC, FREE)  # not in what is saved together
HELD = 300  # document questions whose reservations are compared

Steps = dict[str, dict[str, Answered]]


def main() -> None:
    """Ask all questions under each set of levers, and put the mix together."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--squad", type=Path, default=Path("../shared/data/squad"))
    arguments.add_argument("--outcomes", type=Path, default=Path("../shared/data/routing/mmlu.jsonl"))
    arguments.add_argument("--questions", type=int, default=600, help="different document questions")
    arguments.add_argument("--hard-questions", type=int, default=4000)
    arguments.add_argument("--others", type=int, default=800, help="document questions to choose settings by")
    arguments.add_argument("--router-documents", type=int, help="of those that routers are trained on; default: all")
    arguments.add_argument("--budget-tokens", type=int, help="default: chosen by the other questions")
    arguments.add_argument("--min-quality", type=float, default=1.0, help="`generation.router_min_quality`")
    arguments.add_argument(
        "--seen", type=Path, help="file: what routers see of the questions that they are trained on, kept between runs"
    )
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    result = measured(given)
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """All of it."""
    dataset, encoder = load_dataset(given.squad), load_encoder(Settings().embedding)
    today = day(dataset, given.questions, SEED)
    others = today.others[: given.others]
    reader = Reader(today.answers, encoder.count_tokens)
    provider = ProviderCache(
        encoder.count_tokens, {name: PriceBook().price(name).input_per_mtok for name in (WEAK, STRONG)}
    )
    learned = [*today.others, *today.unanswered]
    if given.router_documents is not None:
        learned = [learned[n] for n in np.random.default_rng(SEED).permutation(len(learned))[: given.router_documents]]
    rows = recorded(given.outcomes, given.hard_questions, learned, SEED)
    with tempfile.TemporaryDirectory() as folder, simulated_endpoint(reader, provider) as url:
        home = Path(folder)
        endpoint = Endpoint(url, WEAK, STRONG, home / ROUTER, given.min_quality)
        with indexed(dataset, endpoint.settings(home / "index", 400)) as runtime:
            plain = Plain(runtime, reader, provider, STRONG)
            chosen, budgets = budget_curve(plain, runtime, others)
            budget = given.budget_tokens or chosen
            print("budget", budget, budgets, file=sys.stderr)
            talks = in_long_talks(
                runtime, plain, endpoint, provider, home / "talks", budget, long_talks(today.kinds[FOLLOW_UPS])
            )
            some = [*today.kinds[DOCUMENTS][:HELD], *today.kinds[PARAPHRASES], *today.kinds[FOLLOW_UPS]]
            held = clamp(runtime, endpoint, home / "held", budget, some, STRONG)
            print("long talks", talks, "clamp", held, file=sys.stderr)
            with engine_of(runtime, endpoint.settings(home / "signs", budget)) as engine:
                hard = routed(rows, home, engine, given.min_quality, given.seen)
            print("to the strong model", shares_sent(hard), file=sys.stderr)
            free = free_tier_curve(runtime, others, budget)
            steps: Steps = {PLAIN: {kind: plain.ask(today.kinds[kind]) for kind in READ}}
            as_asked = plain.ask(today.kinds[FOLLOW_UPS], with_earlier=False)
            asked: dict[str, Asked] = {}
            for name, wishes in (
                (PACKING, {"condensed": False, "clamped": False}),
                (HISTORIES, {"clamped": False}),
                (CLAMP, {}),
                (ROUTING, {"both": True}),
                (SEMANTIC, {"both": True, "cache": "semantic"}),
                (FREE, {"both": True, "free_from": Settings().generation.extractive_sure_confidence}),
            ):
                # without earlier turns there is nothing to condense: the same prompts
                kinds = {FOLLOW_UPS: today.kinds[FOLLOW_UPS]} if name == HISTORIES else today.kinds
                asked[name] = ask_all(runtime, endpoint.settings(home / name, budget, **wishes), provider, kinds, today)
                steps[name] = {**steps.get(PACKING, {}), **asked[name].kinds}
                print(name, {kind: one.told() for kind, one in steps[name].items()}, file=sys.stderr)
    evidence = {name: float(steps[name][DOCUMENTS].evidence.mean()) for name in (PLAIN, PACKING)}
    unchecked = {name: {**kinds} for name, kinds in steps.items()}
    for name in steps:
        tokens, to_both = evidence[PLAIN if name == PLAIN else PACKING], name in (ROUTING, *OFF)
        steps[name][HARD] = hard.answered(WEAK, STRONG, tokens, routed=to_both)
        unchecked[name][HARD] = hard.answered(WEAK, STRONG, tokens, routed=to_both, handed_on=False)
    without = put_together(unchecked, asked)
    return put_together(steps, asked) | {
        "hard_unchecked": {name: told for name, told in without.items() if name.startswith(("saved", "usd"))},
        "questions_changed": {
            kind: changed(today.kinds[kind], steps[PLAIN][kind], steps[ROUTING][kind]) for kind in READ
        },
        "questions": {kind: len(one.right) for kind, one in steps[PLAIN].items()},
        "sent_to_strong": {**asked[ROUTING].to_strong, HARD: shares_sent(hard)["hard"]},
        "plain_follow_ups_as_asked": as_asked.told(),
        "budget_tokens": budget,
        "budgets_on_other_questions": budgets,
        "free_tier_on_other_questions": free,
        "long_talks": talks,
        "clamp": {**held, "answers_cut": asked[CLAMP].cut, "answers_cut_unclamped": asked[PACKING].cut},
        "min_quality": given.min_quality,
        "router_trained_on": {"recorded": given.hard_questions, "documents": len(learned)},
        "evidence_tokens": {name: round(tokens) for name, tokens in evidence.items()},
        "models": {"weak": WEAK, "strong": STRONG},
        "prices": PriceBook().version,
    }


def changed(questions: Sequence[Question], before: Answered, after: Answered) -> dict[str, list[str]]:
    """Which questions are answered wrongly that the plain recipe answers rightly, and the other way round."""
    signs = after.right - before.right
    return {
        name: [one.text.strip() for one, sign in zip(questions, signs, strict=True) if sign == wanted]
        for name, wanted in (("lost", -1), ("won", 1))
    }


def put_together(steps: Steps, asked: Mapping[str, Asked]) -> dict[str, Any]:
    """The mix: what each lever saves of the plain recipe's money, what becomes of the answers, and the curves."""
    mix, hits = Mix(), asked[ROUTING].repeats_hit
    answers, levers, before = mix.shares(0.0), [], PLAIN

    def usd(step: str, of: Mix, *, cached: bool, had_at: float = 1.0) -> float:
        """Dollars a question; `had_at` is what a token costs that the provider had, as a share of a fresh one."""
        shares = of.shares(hits * cached).items()
        return sum(
            share * float((steps[step][kind].usd - (1 - had_at) * steps[step][kind].had_usd).mean())
            for kind, share in shares
        )

    def right_change(step: str, since: str) -> dict[str, float]:
        return difference((share, steps[since][kind].right, steps[step][kind].right) for kind, share in answers.items())

    def right(step: str) -> float:
        return round(sum(share * float(steps[step][kind].right.mean()) for kind, share in answers.items()), 4)

    def saved(step: str, of: Mix, had_at: float = 1.0) -> float:
        return round(1 - usd(step, of, cached=True, had_at=had_at) / usd(PLAIN, of, cached=False, had_at=had_at), 4)

    all_usd = usd(PLAIN, mix, cached=False)
    spent = all_usd
    for name, step in LEVERS:
        now = usd(step, mix, cached=True)
        by_kind = {kind: difference([(1.0, steps[before][kind].right, steps[step][kind].right)]) for kind in answers}
        levers.append(
            {
                "lever": name,
                "saved_share": round((spent - now) / all_usd, 4),
                "right": right(step),
                "right_change": right_change(step, before),
                "right_change_by_kind": by_kind,
            }
        )
        spent, before = now, step
    together = right_change(ROUTING, PLAIN)
    kinds = {kind: difference([(1.0, steps[PLAIN][kind].right, steps[ROUTING][kind].right)]) for kind in answers}
    return {
        "mix": {**mix.shares(1.0), "repeated": mix.repeated},
        "usd_per_1000": {"plain": round(all_usd * 1000, 3), "ragsaver": round(spent * 1000, 3)},
        "right": {"plain": right(PLAIN), "ragsaver": right(ROUTING)},
        "saved": saved(ROUTING, mix),
        "right_change": together,
        "right_change_by_kind": kinds,
        "levers": levers,
        "off_in_the_headline": {
            name: {
                "saved_more": round((saved(name, mix) - saved(ROUTING, mix)), 4),
                "right": right(name),
                "right_change": right_change(name, ROUTING),
                "right_change_by_kind": {
                    kind: difference([(1.0, steps[ROUTING][kind].right, steps[name][kind].right)]) for kind in READ
                },
            }
            for name in OFF
        },
        "prompt_cache_discount": {
            "cached_price_share": {
                name: float(PriceBook().price(name).cached_input_per_mtok / PriceBook().price(name).input_per_mtok)
                for name in (WEAK, STRONG)
            },
            "saved_at": {str(share): saved(ROUTING, mix, share) for share in DISCOUNTED},
            "by_kind": {kind: {name: discounted(steps[name][kind]) for name in (PLAIN, ROUTING)} for kind in READ},
        },
        "semantic_hits": asked[SEMANTIC].semantic,
        "repeats": {"answered_by_cache": round(hits, 4), "other_answer": asked[ROUTING].repeats_changed},
        "saved_by_repeated": {str(one): saved(ROUTING, replace(mix, repeated=one)) for one in SHARES},
        "saved_by_hard": {str(one): saved(ROUTING, replace(mix, hard=one)) for one in SHARES},
        "saved_none_repeated_by_hard": {
            str(one): saved(ROUTING, replace(mix, repeated=0.0, hard=one)) for one in SHARES
        },
        "by_kind": {kind: {name: one[kind].told() for name, one in steps.items()} for kind in answers},
        "goal": SAVING_GOAL,
        "ok": saved(ROUTING, mix) >= SAVING_GOAL and all(map(none_lost, (together, *kinds.values()))),
    }


if __name__ == "__main__":
    main()
