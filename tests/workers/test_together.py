"""Texts of many documents go through the model together, in runs of a budget of tokens."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.ingestion.job_report import State
from ragsaver.models.batching import groups_within
from ragsaver.settings import DatabaseSettings
from tests.redis_server import RedisServer
from tests.workers.test_stages import Line

BUDGET = 64


@pytest.fixture
def line(tmp_path: Path, redis: RedisServer, database: DatabaseSettings) -> Iterator[Line]:
    with closing(Line(tmp_path, redis, database, embed_batch_tokens=BUDGET)) as made:
        yield made


@pytest.fixture
def runs(line: Line, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The texts of each run of the model."""
    seen: list[list[str]] = []
    encode = line.bench.encoder.encode

    def watched(texts, *more, **named):
        seen.append(list(texts))
        return encode(texts, *more, **named)

    monkeypatch.setattr(line.bench.encoder, "encode", watched)
    return seen


def test_a_run_has_texts_of_several_documents_and_no_more_tokens_than_the_budget(line: Line, runs: list[list[str]]):
    ids = line.put(*(f"Owl number {n} hunts voles every night of the year." for n in range(14)))
    line.convert(ids)
    line.embed(ids)
    assert line.states(ids) == [State.EMBEDDED] * 14
    tokens = [sum(line.bench.encoder.count_tokens(texts)) for texts in runs]
    assert max(tokens) <= BUDGET
    assert max(len(texts) for texts in runs) > 1
    assert len(runs) == 3  # six of ten tokens, six, and the rest
    line.drain()
    assert line.reconciles(ids)


def test_a_text_above_the_budget_has_a_run_of_its_own(line: Line, runs: list[list[str]]):
    ids = line.put("Owls hunt voles.", "Voles hide from owls " * 20, "Bees dance.")
    line.convert(ids)
    line.embed(ids)
    assert line.states(ids) == [State.EMBEDDED] * 3
    assert [len(texts) for texts in runs] == [1, 2]


@given(st.lists(st.integers(0, 100), max_size=50), st.integers(1, 100))
def test_every_text_is_in_one_run_and_none_is_above_the_budget_but_by_a_text_alone(sizes: list[int], budget: int):
    groups = groups_within(sizes, budget)
    assert sorted(position for group in groups for position in group) == list(range(len(sizes)))
    assert all(len(group) == 1 or sum(sizes[position] for position in group) <= budget for group in groups)
