"""What was learned of answers' lengths, in the ledger's database."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from ragsaver.dialects import insert, lock_rows
from ragsaver.spend.answer_lengths import AnswerLengths
from ragsaver.spend.tables import lengths as _lengths
from ragsaver.spend.usage import TokenUsage


class Answered(NamedTuple):
    """An answer that the endpoint counted.

    :ivar foreseen_tokens: that its prompt was to have at most.
    :ivar prompt_factor: by which that was raised, from what was learned before.
    :ivar cut: whether it ended at its limit.
    """

    model: str
    task: str
    foreseen_tokens: int
    prompt_factor: float
    usage: TokenUsage
    cut: bool

    @property
    def needed_factor(self) -> float:
        """That would have foreseen its prompt."""
        return self.prompt_factor * self.usage.prompt / max(self.foreseen_tokens, 1)


def read(connection: sa.Connection, model: str, task: str) -> AnswerLengths:
    """What is known of a model's answers to a task."""
    return _known(connection.execute(sa.select(_lengths).where(_lengths.c.id == _key(model, task))).first())


def learn(connection: sa.Connection, answers: Sequence[Answered]) -> None:
    """Take answers into account, those of each model and task together."""
    by_key: dict[str, list[Answered]] = {}
    for one in answers:
        by_key.setdefault(_key(one.model, one.task), []).append(one)
    for key in sorted(by_key):  # so that no two that learn wait for each other
        first = {"id": key, "counts": {}, "prompt_factor": 1.0}
        connection.execute(insert(connection.dialect.name, _lengths).values(first).on_conflict_do_nothing())
        (row,) = lock_rows(connection, _lengths, _lengths.c.id, _lengths.c.id == key)
        known = _known(row)
        for one in by_key[key]:
            known = known.with_answer(one.usage.answered, cut=one.cut, prompt_factor=one.needed_factor)
        values = {
            "counts": {str(size): count for size, count in known.counts.items()},
            "prompt_factor": known.prompt_factor,
        }
        connection.execute(sa.update(_lengths).where(_lengths.c.id == key).values(values))


def _key(model: str, task: str) -> str:
    return f"{model}\n{task}"


def _known(row: sa.Row[Any] | None) -> AnswerLengths:
    if row is None:
        return AnswerLengths()
    return AnswerLengths({int(size): count for size, count in row.counts.items()}, row.prompt_factor)
