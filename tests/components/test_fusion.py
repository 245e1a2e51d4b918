import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.fusion import fuse, min_max

scores = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-50, 50), max_size=8)
weights = st.floats(0, 1)


@given(scores, scores, weights)
def test_fused_scores_are_shares_and_sorted(dense, lexical, weight):
    fused = fuse(dense, lexical, weight)
    values = [score for _, score in fused]
    assert values == sorted(values, reverse=True)
    assert all(-1e-9 <= value <= 1 + 1e-9 for value in values)
    assert {key for key, _ in fused} == dense.keys() | lexical.keys()


@given(scores, weights)
def test_swapping_the_legs_and_the_weight_changes_nothing(dense, weight):
    lexical = {key: -score for key, score in dense.items()}
    one, other = dict(fuse(dense, lexical, weight)), dict(fuse(lexical, dense, 1 - weight))
    assert one == pytest.approx(other)


def test_a_leg_that_found_nothing_leaves_the_order_to_the_other():
    assert fuse({"a": 0.9, "b": 0.1}, {}, 0.9) == [("a", 1.0), ("b", 0.0)]
    assert fuse({}, {"a": 3.0, "b": 9.0}, 0.0) == [("b", 1.0), ("a", 0.0)]
    assert fuse({}, {}, 0.5) == []


def test_a_lead_is_kept():
    fused = fuse({"far ahead": 0.9, "b": 0.3, "c": 0.29}, {"c": 10.0, "b": 9.9, "far ahead": 9.8}, 0.4)
    assert fused[0][0] == "far ahead"


def test_equal_scores_are_all_best():
    assert min_max({"a": 2.0, "b": 2.0}) == {"a": 1.0, "b": 1.0}
