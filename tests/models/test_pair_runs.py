"""Pairs of several questions share runs of a cross-encoder: within the budget, each question's own, each in its time."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from ragsaver.errors import RerankLate
from ragsaver.models.devices import Budget
from ragsaver.models.rerankers.pair_runs import PairRuns
from ragsaver.models.rerankers.protocol import NO_LIMIT

Pair = tuple[str, int]  # a question, and the tokens that it has with a passage


class Model:
    """Scores a pair by its tokens, and holds the first run until it is opened."""

    def __init__(self) -> None:
        self.runs: list[list[Pair]] = []
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, pairs: list[Pair]) -> np.ndarray:
        self.runs.append(pairs)
        self.entered.set()
        assert self.opened.wait(30)
        if any(tokens == 13 for _, tokens in pairs):
            raise ValueError("13 tokens")
        return np.array([tokens for _, tokens in pairs], dtype=np.float32)


def score(runs: PairRuns[Pair], question: str, lengths: Sequence[int], until: float = NO_LIMIT) -> list[float]:
    return runs.score([(question, length) for length in lengths], lengths, until).tolist()


def behind_one(model: Model, runs: PairRuns[Pair], asked: dict[str, list[int]]) -> dict[str, Future[list[float]]]:
    """One question's run is under way, and the others come while it is."""
    pool = ThreadPoolExecutor(len(asked) + 1)
    first = pool.submit(score, runs, "first", [1])
    assert model.entered.wait(30)
    futures = {}
    for waiting, (question, lengths) in enumerate(asked.items(), 1):
        futures[question] = pool.submit(score, runs, question, lengths)
        while len(runs._shared._waiting) < waiting:
            threading.Event().wait(0.001)
    model.opened.set()
    pool.shutdown(wait=True)
    assert first.result() == [1.0]
    return futures


def test_pairs_of_questions_asked_meanwhile_share_a_run_and_each_gets_its_own():
    model = Model()
    found = behind_one(model, PairRuns("model", model, Budget(1000, 100), shared=True), {"a": [9, 5, 7], "b": [8, 6]})
    assert found["a"].result() == [9, 5, 7]
    assert found["b"].result() == [8, 6]
    assert sorted(model.runs[1]) == [("a", 5), ("a", 7), ("a", 9), ("b", 6), ("b", 8)]


def test_no_run_holds_more_padded_tokens_than_the_budget():
    model = Model()
    asked = {question: [40, 10, 30, 20, 10] for question in "abcdef"}
    found = behind_one(model, PairRuns("model", model, Budget(100, 5), shared=True), asked)
    assert all(future.result() == [40, 10, 30, 20, 10] for future in found.values())
    assert all(len(run) * max(tokens for _, tokens in run) <= 100 for run in model.runs)
    assert any(len({question for question, _ in run}) > 1 for run in model.runs)
    assert sum(map(len, model.runs)) == 31


def test_questions_take_turns_where_runs_are_soon_full():
    model = Model()
    behind_one(model, PairRuns("model", model, Budget(50, 5), shared=True), {"long": [50] * 6, "short": [50]})
    order = [run[0][0] for run in model.runs]
    assert order.index("short") == 2, "a short list does not wait for a long one"


def test_a_pair_that_fails_fails_its_own_question():
    model = Model()
    found = behind_one(
        model, PairRuns("model", model, Budget(1000, 100), shared=True), {"a": [9, 5], "b": [13], "c": [7]}
    )
    assert (found["a"].result(), found["c"].result()) == ([9, 5], [7])
    with pytest.raises(ValueError, match="13 tokens"):
        found["b"].result()


def test_a_question_is_given_up_in_its_own_time_while_others_go_on():
    model = Model()
    runs = PairRuns("model", model, Budget(1000, 100), shared=True)
    with ThreadPoolExecutor(1) as pool:
        patient = pool.submit(score, runs, "patient", [3])
        assert model.entered.wait(30)
        with pytest.raises(RerankLate):
            score(runs, "hurried", [4], time.monotonic() + 0.02)
        model.opened.set()
        assert patient.result() == [3]
    assert model.runs == [[("patient", 3)]]


def test_a_question_without_passages_asks_no_model():
    model = Model()
    assert score(PairRuns("model", model, Budget(10, 1), shared=True), "a", []) == []
    assert not model.runs


def test_where_runs_are_not_shared_each_question_makes_its_own_beside_the_others():
    model = Model()
    runs = PairRuns("model", model, Budget(10, 1), shared=False)
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(score, runs, question, [5, 5, 10]) for question in "ab"]
        while len(model.runs) < 2:  # both are under way before any has ended
            threading.Event().wait(0.001)
        model.opened.set()
        assert [one.result() for one in found] == [[5, 5, 10]] * 2
    assert all(len({question for question, _ in run}) == 1 for run in model.runs)


def test_a_run_of_its_own_is_not_begun_too_late():
    model = Model()
    with pytest.raises(RerankLate):
        score(PairRuns("model", model, Budget(10, 1), shared=False), "a", [5], time.monotonic() - 1)
    assert not model.runs
