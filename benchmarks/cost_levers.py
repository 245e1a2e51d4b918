"""Levers that a day of short talks and short answers hardly shows: what they are worth where they matter."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from cost_reading import Endpoint, Plain, ask, engine_of
from cost_traffic import Answered, Question, difference
from provider_cache import ProviderCache

from ragsaver.components.answer_length import most_tokens
from ragsaver.components.conversation import Condenser, turns_of
from ragsaver.components.follow_up import made_whole
from ragsaver.components.request import Request
from ragsaver.pipelines.estimating import estimate
from ragsaver.pipelines.runtime import Runtime
from ragsaver.spend.prices import PriceBook

DISCOUNTED = (0.5, 0.25, 0.1)  # what a cached token costs, as a share of a fresh one, where a provider gives a discount
TALKS, SEED = 3, 11

Told = dict[str, object]


def long_talks(follow_ups: Sequence[Question]) -> list[Question]:
    """Each dialogue's last question in talks that hold all dialogues, one after the other, in some orders."""
    dice, asked = np.random.default_rng(SEED), []
    for _ in range(TALKS):
        said: tuple[tuple[str, str], ...] = ()
        for place in dice.permutation(len(follow_ups)):
            one = follow_ups[place]
            asked.append(replace(one, history=(*said, *one.history), apart=len(said)))
            said = (*said, *one.history, ("user", one.text), ("assistant", f"{one.answers[0]}."))
    return asked


def in_long_talks(
    runtime: Runtime,
    plain: Plain,
    endpoint: Endpoint,
    provider: ProviderCache,
    home: Path,
    budget: int,
    talks: list[Question],
) -> Told:
    """Follow-ups at the end of long talks: all that was said in the prompt, and condensed; the strong model alone."""
    found = {"plain": plain.ask(talks)}
    for name, condensed in (("whole", False), ("condensed", True)):
        with engine_of(runtime, endpoint.settings(home / name, budget, cache="off", condensed=condensed)) as engine:
            _, found[name] = ask(engine, provider, talks)
            history_tokens = engine.resources.settings.generation.history_tokens
    condenser = Condenser(history_tokens, runtime.encoder.count_tokens)
    turns = [len(turns_of(one.history)) for one in talks]
    return {
        "questions": len(talks),
        "turns_before": {"mean": round(float(np.mean(turns)), 1), "most": max(turns)},
        "by_history": {name: one.told() | discounted(one) for name, one in found.items()},
        "saved_by_condensing": _saved(found["whole"], found["condensed"]),
        "right_change_by_condensing": difference([(1.0, found["whole"].right, found["condensed"].right)]),
        "right_change_of_plain": difference([(1.0, found["plain"].right, found["condensed"].right)]),
        "leaned_on_still_there": round(float(np.mean([_there(one, condenser) for one in talks])), 4),
    }


def discounted(one: Answered) -> Told:
    """What the same questions cost where what the provider had of a prompt is cheaper."""
    usd, had = float(one.usd.mean()), float(one.had_usd.mean())
    return {
        "had_share_of_usd": round(had / usd, 4),
        "usd_per_1000_at": {str(share): round((usd - (1 - share) * had) * 1000, 3) for share in DISCOUNTED},
    }


def clamp(
    runtime: Runtime, endpoint: Endpoint, home: Path, budget: int, questions: Sequence[Question], model: str
) -> Told:
    """What the clamp of short answers holds back, and could save at most: its questions' answers as long as may be.

    `held_usd_per_1000` is what is reserved before one call to the strong model, in the mean.
    """
    held = {}
    for name, clamped in (("unclamped", False), ("clamped", True)):
        with engine_of(runtime, endpoint.settings(home / name, budget, clamped=clamped)) as engine:
            limit = engine.resources.settings.generation.models[-1].max_output_tokens
            each = []
            for one in questions:
                request = Request(engine.resources.default_scope, caching="off", history=one.history)
                tier = estimate(engine.prompt(one.text, request), engine.resources).tiers[-1]
                each.append(float(tier.high_usd) / tier.attempts)
            held[name] = round(float(np.mean(each)) * 1000, 3)
    fewer = np.array([limit - most_tokens(one.text, limit) for one in questions])
    return {
        "questions": len(questions),
        "bounded": round(float((fewer > 0).mean()), 4),
        "held_usd_per_1000": held,
        "held_less": round(1 - held["clamped"] / held["unclamped"], 4),
        "at_most_saved_usd_per_1000": round(
            float(fewer.mean() * float(PriceBook().price(model).output_per_mtok)) / 1000, 3
        ),
    }


def _saved(before: Answered, after: Answered) -> Mapping[str, float]:
    """Share of the money, at the list's price and with discounts."""
    found = {}
    for share in (1.0, *DISCOUNTED):
        spent = [float((one.usd - (1 - share) * one.had_usd).mean()) for one in (before, after)]
        found[str(share)] = round(1 - spent[1] / spent[0], 4)
    return found


def _there(question: Question, condenser: Condenser) -> bool:
    """Whether a prompt with the condensed talk has all words that the question leans on."""
    words = made_whole(question.text, question.history)[len(question.text) :].split()
    told = " ".join(text for _, text in condenser.condense(question.history)).casefold()
    return all(word.casefold() in told for word in words)
