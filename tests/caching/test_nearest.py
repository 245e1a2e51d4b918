"""The nearest question is found in its own area, as a look at all of them would find it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.caching import nearest as module
from ragsaver.caching.nearest import Nearest


def vectors(count: int, dim: int = 384, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def beside(vector: np.ndarray, much: float) -> np.ndarray:
    moved = vector + much * vectors(1, len(vector), seed=1)[0]
    return moved / np.linalg.norm(moved)


def test_it_finds_what_a_look_at_all_would_find():
    made = vectors(2000)
    known: Nearest[str, int] = Nearest(5000)
    for n, vector in enumerate(made):
        known.put("a", n, str(n), vector)
    for n in range(0, 2000, 50):
        asked = beside(made[n], 0.7)
        found = known.near("a", asked, 0.75, 3)
        assert (found[0].label, found[0].question) == (n, str(n))
        assert found[0].cosine == pytest.approx(float(made[n] @ asked), abs=1e-3)
    assert known.near("a", vectors(1, seed=9)[0], 0.75, 3) == []


def test_in_a_full_area_the_questions_that_were_put_last_are_known():
    made, most = vectors(30), 5
    known: Nearest[str, int] = Nearest(most)
    for n, vector in enumerate(made):
        known.put("a", n, str(n), vector)
        there = [one for one in range(30) if known.near("a", made[one], 0.99, 1)]
        assert there == list(range(max(0, n + 1 - most), n + 1))


def test_many_that_are_put_at_once_are_as_if_they_were_put_one_by_one():
    made, most = vectors(40), 20
    known: Nearest[str, int] = Nearest(most)
    known.put("other", 0, "0", made[0])
    known.put_all("a", {n: str(n) for n in range(12)}, made[:12])
    known.put_all("a", {n: f"{n} again" for n in range(6, 18)}, made[6:18])
    assert len(known) == 19 and [one.question for one in known.near("a", made[7], 0.99, 1)] == ["7 again"]
    known.put_all("a", {n: str(n) for n in range(40)}, made)
    assert len(known) == most and "other" not in known
    assert [n for n in range(40) if known.near("a", made[n], 0.99, 1)] == list(range(20, 40))


def test_other_areas_are_not_looked_at():
    known: Nearest[str, int] = Nearest(10)
    known.put("a", 1, "q", vectors(1)[0])
    assert known.near("b", vectors(1)[0], 0.0, 3) == []


def test_numpy_without_bitwise_count_counts_the_same(monkeypatch: pytest.MonkeyPatch):
    words = np.random.default_rng(0).integers(0, 2**63, 100).astype(np.uint64)
    expected = [int(word).bit_count() for word in words]
    assert module._ones_in(words).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert module._ones_in(words).tolist() == expected


@given(st.lists(st.tuples(st.sampled_from(["put", "remove"]), st.sampled_from("ab"), st.integers(0, 7)), max_size=60))
def test_any_history_of_puts_and_removals_keeps_what_it_should(history: list[tuple[str, str, int]]):
    made, most = vectors(8, 64), 6
    known: Nearest[str, int] = Nearest(most)
    model: dict[tuple[str, int], None] = {}
    for what, area, n in history:
        if what == "put":
            known.put(area, n, f"{area}{n}", made[n])
            model[area, n] = None
        else:
            known.remove(area, n)
            model.pop((area, n), None)
        assert len(known) <= most
        for one in "ab":
            for near in known.near(one, made[n], 0.99, 3):
                assert near.question == f"{one}{near.label}" and (one, near.label) in model
    if history and history[-1][0] == "put":
        _, area, n = history[-1]
        assert known.near(area, made[n], 0.99, 1)[0].label == n
