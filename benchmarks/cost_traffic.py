"""A day's questions by kind, of the real sets: how often which kind comes, and what was answered better or worse."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragsaver.eval.dataset import Dataset, Query

TESTS = Path(__file__).parents[1] / "tests" / "data"
PARAPHRASED, DIALOGUES = TESTS / "paraphrases" / "squad.jsonl", TESTS / "dialogues" / "dialogues.jsonl"
DOCUMENTS, PARAPHRASES, FOLLOW_UPS, HARD = "documents", "paraphrases", "follow-ups", "hard"
READ = (DOCUMENTS, PARAPHRASES, FOLLOW_UPS)  # kinds that are answered from passages
DRAWS = 10_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Question:
    """One question.

    :ivar answers: gold ones, any of which will do.
    :ivar history: turns before it, oldest first: role and text.
    :ivar apart: how many of the first of them speak of something else.
    """

    text: str
    answers: tuple[str, ...]
    history: tuple[tuple[str, str], ...] = ()
    apart: int = 0

    @property
    def with_earlier(self) -> str:
        """What was asked before it of the same, and the question."""
        return " ".join([*(text for role, text in self.history[self.apart :] if role == "user"), self.text])

    @property
    def again(self) -> "Question":
        """The same with other case and spaces."""
        return replace(self, text=f"  {self.text[0].lower()}{self.text[1:]} ")


@dataclass(frozen=True)
class Day:
    """All questions that are read for.

    :ivar kinds: by kind, those of `READ`.
    :ivar asked_before: what the paraphrases say in other words.
    :ivar others: document questions that are not asked: to choose settings by.
    :ivar unanswered: those that the documents don't answer: beside the others, to train routers by.
    """

    kinds: Mapping[str, Sequence[Question]]
    asked_before: Sequence[Question]
    others: Sequence[Question]
    unanswered: Sequence[Question]

    @property
    def answers(self) -> dict[str, list[str]]:
        """Gold answers by question."""
        gold: dict[str, list[str]] = {}
        for question in (*(one for kind in self.kinds.values() for one in kind), *self.asked_before, *self.others):
            gold.setdefault(question.text.strip(), []).extend(question.answers)
        return gold


@dataclass(frozen=True)
class Answered:
    """What some questions cost, question by question.

    :ivar usd: dollars.
    :ivar right: 1 where rightly answered.
    :ivar evidence: tokens.
    :ivar had_usd: dollars in `usd` for what the provider had of the prompt.
    """

    usd: Floats
    right: Floats
    evidence: Floats
    had_usd: Floats = field(default_factory=lambda: np.zeros(1))

    def told(self) -> dict[str, float]:
        """The means, for a report."""
        return {"usd_per_1000": round(float(self.usd.mean()) * 1000, 3), "right": round(float(self.right.mean()), 4)}


@dataclass(frozen=True)
class Mix:
    """Shares of all requests; document questions that nobody asked before are the rest."""

    repeated: float = 0.3
    hard: float = 0.1
    paraphrases: float = 0.1
    follow_ups: float = 0.1

    def shares(self, answered_again: float) -> dict[str, float]:
        """By kind, the repeats that no cache answers among the document questions.

        :param answered_again: share of the repeats that a cache answers.
        """
        fresh = 1 - self.hard - self.paraphrases - self.follow_ups - self.repeated
        return {
            DOCUMENTS: fresh + self.repeated * (1 - answered_again),
            PARAPHRASES: self.paraphrases,
            FOLLOW_UPS: self.follow_ups,
            HARD: self.hard,
        }


def day(dataset: Dataset, documents: int, seed: int) -> Day:
    """Draw document questions, and take all paraphrases and follow-ups.

    :param documents: how many.
    """
    by_id = {query.id: query for query in dataset.queries}
    asked_before, paraphrases = [], []
    for row in map(json.loads, PARAPHRASED.read_text(encoding="utf-8").splitlines()):
        first = by_id[row["question"]]
        asked_before.append(_of(first))
        paraphrases.append(Question(row.get("words") or by_id[row["also"]].text, first.answers))
    follow_ups = [
        Question(row["question"], tuple(row["answers"]), tuple((role, text) for role, text in row["history"]))
        for row in map(json.loads, DIALOGUES.read_text(encoding="utf-8").splitlines())
    ]
    taken = {one.text.strip() for one in (*asked_before, *paraphrases, *follow_ups)}
    free = {query.text.strip(): query for query in dataset.queries if query.answers and query.text.strip() not in taken}
    drawn = [list(free.values())[n] for n in np.random.default_rng(seed).permutation(len(free))]
    return Day(
        {DOCUMENTS: [*map(_of, drawn[:documents])], PARAPHRASES: paraphrases, FOLLOW_UPS: follow_ups},
        asked_before,
        [*map(_of, drawn[documents:])],
        [_of(query) for query in dataset.queries if not query.answers],
    )


def difference(parts: Iterable[tuple[float, Floats, Floats]]) -> dict[str, float]:
    """Right answers more or fewer, with the 95% interval of a bootstrap over the questions of each kind.

    `worse` and `better` are how many questions changed.

    :param parts: share of a kind, and what was right before and after, question by question.
    """
    dice = np.random.default_rng(0)
    change, drawn = 0.0, np.zeros(DRAWS)
    changed = np.zeros(2, dtype=int)
    for share, before, after in parts:
        worse, same, better = (float((after - before == n).mean()) for n in (-1, 0, 1))
        changed += [int((after < before).sum()), int((after > before).sum())]
        change += share * (better - worse)
        counts = dice.multinomial(len(before), [worse, same, better], DRAWS)
        drawn += share * (counts[:, 2] - counts[:, 0]) / len(before)
    low, high = np.quantile(drawn, [0.025, 0.975])
    interval = {"change": round(change, 5), "low": round(float(low), 5), "high": round(float(high), 5)}
    return {**interval, "worse": int(changed[0]), "better": int(changed[1])}


def none_lost(found: Mapping[str, float]) -> bool:
    """Whether no loss was measured: none on average, or none that differs from 0."""
    return found["change"] >= 0 or found["high"] >= 0


def _of(query: Query) -> Question:
    return Question(query.text, query.answers)
