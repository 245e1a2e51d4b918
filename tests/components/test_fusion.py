import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.fusion import (
    Fusion,
    by_distribution,
    depth,
    fuse,
    in_order,
    min_max,
    reciprocal_ranks,
    z_scores,
)

scores = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-50, 50), max_size=8)
weights = st.floats(0, 1)
fusions = st.sampled_from(Fusion)


@given(scores, scores, weights, fusions)
def test_fused_scores_are_shares_and_sorted(dense, lexical, weight, fusion):
    fused = fuse(dense, lexical, weight, fusion)
    values = [score for _, score in fused]
    assert values == sorted(values, reverse=True)
    assert all(-1e-9 <= value <= 1 + 1e-9 for value in values)
    assert {key for key, _ in fused} == dense.keys() | lexical.keys()


@given(scores, weights, fusions)
def test_swapping_the_legs_and_the_weight_changes_nothing(dense, weight, fusion):
    lexical = {key: -score for key, score in dense.items()}
    one, other = dict(fuse(dense, lexical, weight, fusion)), dict(fuse(lexical, dense, 1 - weight, fusion))
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


@given(scores, fusions)
def test_one_leg_alone_keeps_its_order(dense, fusion):
    fused = fuse(dense, {}, 0.5, fusion)
    for (better, _), (worse, _) in itertools.pairwise(fused):
        # scales are computed in floats, in which neighbours may become one
        assert dense[better] >= dense[worse] or dense[better] == pytest.approx(dense[worse], abs=1e-9)


def test_the_scales_are_the_ones_of_their_formulas():
    scores = {"a": 4.0, "b": 2.0, "c": 0.0}
    assert z_scores(scores) == pytest.approx({"a": 4 / 1.632993, "b": 2 / 1.632993, "c": 0.0})
    assert reciprocal_ranks(scores) == pytest.approx({"a": 1.0, "b": 61 / 62, "c": 61 / 63})
    assert by_distribution(scores) == pytest.approx({"a": 8 / 12, "b": 6 / 12, "c": 4 / 12})


def test_a_passage_far_above_all_others_is_ahead_of_the_best_of_the_other_leg():
    # its words' score is 3.9 standard deviations above the mean
    lexical = {"outlier": 100.0} | {f"w{place}": 1 + place / 100 for place in range(20)}
    dense = {"first": 0.9, "outlier": 0.1} | {f"d{place}": place / 30 for place in range(20)}
    assert by_distribution(lexical)["outlier"] > 1
    assert fuse(dense, lexical, 0.7, Fusion.DBSF)[0][0] == "outlier"
    ranked = fuse({}, lexical, 0.5, Fusion.DBSF)
    assert ranked[0][1] < 1, "scores stay shares"


def test_equal_scores_favour_nobody():
    alike = {"a": 2.0, "b": 2.0}
    assert z_scores(alike) == {"a": 1.0, "b": 1.0}
    assert by_distribution(alike) == {"a": 0.5, "b": 0.5}


@given(st.lists(st.floats(0, 1), max_size=20), weights, st.integers(1, 30))
def test_depth_keeps_the_best_and_never_fewer_than_asked(values, fall_off, least):
    values.sort(reverse=True)
    kept = depth(values, fall_off, least)
    assert min(len(values), least) <= kept <= len(values)
    assert all(value < fall_off * values[0] for value in values[kept:])
    assert all(value >= fall_off * values[0] for value in values[least:kept])


def test_a_fall_off_of_nothing_keeps_all():
    assert depth([0.9, 0.1, 0.0], 0.0, 1) == 3
    assert depth([], 0.5, 3) == 0


def test_of_equal_scores_the_lesser_id_is_first():
    scores = {"c": 0.5, "b": 1.0, "a": 0.5, "d": 1.0}
    assert in_order(scores) == [("b", 1.0), ("d", 1.0), ("a", 0.5), ("c", 0.5)]
    assert [key for key, _ in fuse(scores, {}, 0.5)] == ["b", "d", "a", "c"]
