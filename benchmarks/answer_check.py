"""How often is the check of a cheap answer right? False alarms and misses by its constants. JSON on the last line.

SQuAD's questions are asked of its corpus through the real pipeline up to the packed evidence. No model answers: the
answers are made of the data, and none is what a model would have written word for word. Founded ones are

- *sentence*: the packed sentence that holds the gold answer,
- *short*: the gold answer alone,
- *own words*: the question's words and the gold answer, with the question left out of the grounds. A person worded it,
  who had read the passage, so it shows how far a right sentence may be from the evidence's words.

Unfounded ones are, with the same evidence,

- *near* and *foreign*: a sentence of the same, or of another article, that was not packed,
- *name* and *number*: the packed sentence with its gold answer, a name or a number, replaced by another question's of
  the same article,
- *other short*: such an answer alone.

The last three are wrong in a word or two, as a model that mixes things up is. An abstention is wrong where the packed
evidence holds the gold answer, and right where the question has none (SQuAD's adversarial ones) or its passages are
taken away.

Half of the articles choose, the other half gives the figures. Chosen is the constant with the fewest false alarms,
each of which costs a call of a dearer model, among those within a standard error of the one that catches most over its
false alarms.
"""

import argparse
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from simulated_endpoint import holds

from ragsaver.settings import Settings, quiet_haystack

SUPPORTED = (0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9)
SURE = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
FOUNDED, UNFOUNDED = ("sentence", "short", "own words"), ("near", "foreign", "name", "number", "other short")
SEED = 7


@dataclass(frozen=True)
class Made:
    """One made answer.

    :ivar choosing: its article is of those that choose.
    :ivar reasons: what speaks against it, by threshold; empty if nothing.
    """

    kind: str
    choosing: bool
    reasons: dict[float, str]


@dataclass(frozen=True)
class Silence:
    """One abstention: how sure the free tier is that there is an answer.

    :ivar right: there is none.
    """

    right: bool
    choosing: bool
    confidence: float


def main() -> None:
    """Make answers, check them, count."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--squad", type=Path, default=Path("../shared/data/squad"))
    arguments.add_argument("--questions", type=int, default=1000, help="with an answer, and as many without")
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    quiet_haystack()
    from ragsaver.components.answer_check import SUPPORTED_FROM
    from ragsaver.components.generator import DOUBT_ABSTENTION_FROM

    made, silences = gathered(given.squad, given.questions)
    choosing = support_curve([one for one in made if one.choosing])
    silent = silence_curve([one for one in silences if one.choosing])
    result = {
        "questions": len(silences),
        "answers": {kind: sum(one.kind == kind for one in made) for kind in (*FOUNDED, *UNFOUNDED)},
        "supported_from": {
            "in_code": SUPPORTED_FROM,
            "chosen": best(choosing),
            "choosing": choosing,
            "checking": support_curve([one for one in made if not one.choosing]),
        },
        "reasons": reasons([one for one in made if not one.choosing], SUPPORTED_FROM),
        "doubt_abstention_from": {
            "in_code": DOUBT_ABSTENTION_FROM,
            "chosen": best(silent),
            "choosing": silent,
            "checking": silence_curve([one for one in silences if not one.choosing]),
        },
    }
    result["ok"] = all(result[name]["chosen"] == result[name]["in_code"] for name in _CONSTANTS)
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


_CONSTANTS = ("supported_from", "doubt_abstention_from")


def gathered(folder: Path, count: int) -> tuple[list[Made], list[Silence]]:
    """Retrieve for questions with and without an answer, and make answers."""
    from ragsaver.components.answer_check import Grounds
    from ragsaver.components.extractive import extract
    from ragsaver.components.packer import ContextPacker
    from ragsaver.components.retriever import HybridRetriever
    from ragsaver.eval.dataset import load_dataset
    from ragsaver.eval.harness import indexed

    dataset, settings = load_dataset(folder), Settings(home=Path("unused"))
    title_of = {one.id: one.title for one in dataset.corpus}
    article = {query.id: title_of[next(iter(dataset.judged[query.id]))] for query in dataset.queries if query.answers}
    titles = sorted({*title_of.values()})
    chooses = {title: place % 2 == 0 for place, title in enumerate(titles)}
    dice = random.Random(SEED)
    maker = Maker(dice, dataset, article)
    answerable = dice.sample([one for one in dataset.queries if one.answers], count)
    without = dice.sample([one for one in dataset.queries if not one.answers], count)
    made: list[Made] = []
    silences: list[Silence] = []
    with indexed(dataset, settings) as runtime:
        retriever, packer = HybridRetriever(), ContextPacker()
        for part in (retriever, packer):
            part.bind(runtime.resources)

        def sure_of(query: Any, found: Sequence[Any]) -> tuple[list[Any], float]:
            packed = list(packer.run(query.text, list(found))["documents"])
            return packed, extract(query.text, packed, 0.5).confidence

        for query in answerable:
            found = list(retriever.run(query.text)["documents"])
            packed, confidence = sure_of(query, found)
            choosing = chooses[article[query.id]]
            own = {document for document, grade in dataset.judged[query.id].items() if grade > 0}
            _, away = sure_of(query, [passage for passage in found if passage.meta["source"] not in own])
            silences.append(Silence(True, choosing, away))
            if not any(holds(one.content or "", query.answers) for one in packed):
                continue
            silences.append(Silence(False, choosing, confidence))
            asked, unasked = (Grounds(words, packed, confidence) for words in (query.text, ""))
            for kind, answer in maker.answers(query, packed):
                grounds = unasked if kind == "own words" else asked
                made.append(Made(kind, choosing, against(answer, grounds)))
        for query in without:
            packed, confidence = sure_of(query, retriever.run(query.text)["documents"])
            nearest = title_of[packed[0].meta["source"]] if packed else titles[0]
            silences.append(Silence(True, chooses[nearest], confidence))
    return made, silences


def against(answer: str, grounds: Any) -> dict[float, str]:
    """What the check says, by threshold."""
    from ragsaver.components.answer_check import unsupported

    return {share: unsupported(answer, grounds, share) or "" for share in SUPPORTED}


class Maker:
    """Makes answers of a data set."""

    def __init__(self, dice: random.Random, dataset: Any, article: dict[str, str]) -> None:
        from ragsaver.sentences import split

        self._dice, self._article, self._split = dice, article, split
        self._sentences: dict[str, list[str]] = {}
        for one in dataset.corpus:
            self._sentences.setdefault(one.title, []).extend(s for s in split(one.text) if len(s.split()) >= 6)
        self._gold: dict[str, list[str]] = {}
        for query in dataset.queries:
            if query.answers:
                self._gold.setdefault(article[query.id], []).append(query.answers[0])

    def answers(self, query: Any, packed: Sequence[Any]) -> Iterator[tuple[str, str]]:
        """Kind and text."""
        title, gold = self._article[query.id], query.answers[0]
        evidence = " ".join(one.content or "" for one in packed)
        yield "short", gold
        yield "own words", f"{query.text.rstrip(' ?')} {gold}."
        sentence = next((s for s in self._split(evidence) if holds(s, query.answers)), None)
        others = [one for one in self._gold[title] if not holds(one, query.answers) and one not in query.text]
        if sentence is not None:
            yield "sentence", sentence
            for kind, like in (("name", _NAME), ("number", _NUMBER)):
                fitting = [one for one in others if like.fullmatch(one)]
                if gold in sentence and like.fullmatch(gold) and fitting:
                    yield kind, sentence.replace(gold, self._dice.choice(fitting))
        if others:
            yield "other short", self._dice.choice(others)
        near = [one for one in self._sentences[title] if one not in evidence]
        far = self._sentences[self._dice.choice([one for one in self._sentences if one != title])]
        yield "near", self._dice.choice(near)
        yield "foreign", self._dice.choice(far)


_NAME = re.compile(r"(?:[A-Z][\w'’-]+)(?: (?:(?:of|the|de|von|van) )?[A-Z][\w'’-]+)*")
_NUMBER = re.compile(r"[\d.,]*\d")


def support_curve(made: Sequence[Made]) -> dict[str, dict[str, float]]:
    """Share of the answers that fail the check, kind by kind, for each threshold; and what the choice goes by."""
    curve = {}
    for share in SUPPORTED:
        failed = {
            kind: float(np.mean([bool(one.reasons[share]) for one in made if one.kind == kind]))
            for kind in (*FOUNDED, *UNFOUNDED)
        }
        # the threshold decides nothing about answers that are wrong in a word
        alarms, caught = [[bool(one.reasons[share]) for one in made if one.kind in of] for of in _DECIDING]
        curve[str(share)] = {kind: round(rate, 4) for kind, rate in failed.items()} | over_alarms(caught, alarms)
    return curve


_DECIDING = (("own words",), ("near", "foreign"))


def over_alarms(caught: Sequence[bool], alarms: Sequence[bool]) -> dict[str, float]:
    """Share that is caught less the share of false alarms, and the standard error of that."""
    rates = [float(np.mean(one)) for one in (caught, alarms)]
    squares = [rate * (1 - rate) / len(one) for rate, one in zip(rates, (caught, alarms), strict=True)]
    return {
        "alarms": round(rates[1], 4),
        "caught": round(rates[0], 4),
        "over": round(rates[0] - rates[1], 4),
        "error": round(float(np.sqrt(sum(squares))), 4),
    }


def reasons(made: Sequence[Made], share: float) -> dict[str, dict[str, float]]:
    """What speaks against the answers of a kind: a number, a name, or a sentence's words."""
    told = {}
    for kind in (*FOUNDED, *UNFOUNDED):
        said = [one.reasons[share] for one in made if one.kind == kind]
        told[kind] = {
            name: round(float(np.mean([reason.startswith(begin) for reason in said])), 4)
            for name, begin in (("number", "the number"), ("name", "the name"), ("words", "a sentence"))
        }
    return told


def silence_curve(silences: Sequence[Silence]) -> dict[str, dict[str, float]]:
    """Shares of wrong and of right abstentions that are doubted, for each confidence."""
    curve = {}
    for least in SURE:
        wrong, right = ([one.confidence >= least for one in silences if one.right == of] for of in (False, True))
        curve[str(least)] = over_alarms(wrong, right)
    return curve


def best(curve: dict[str, dict[str, float]]) -> float:
    """The threshold with the fewest false alarms, among those within a standard error of the best."""
    most = max(curve.values(), key=lambda one: one["over"])
    near = [one for one in curve if curve[one]["over"] >= most["over"] - most["error"]]
    return float(min(near, key=lambda one: curve[one]["alarms"]))


if __name__ == "__main__":
    main()
