"""Metrics against values worked out by hand, and their bounds."""

import math

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.eval.metrics import mrr, ndcg, percentile, recall

JUDGED = {"a": 3, "b": 1, "c": 0, "d": -1}


def test_ndcg_has_linear_gains():
    ideal = 3 + 1 / math.log2(3)
    assert ndcg(["a", "b"], JUDGED, 10) == 1
    assert ndcg(["b", "a"], JUDGED, 10) == pytest.approx((1 + 3 / math.log2(3)) / ideal)
    assert ndcg(["x", "y", "a"], JUDGED, 10) == pytest.approx(3 / math.log2(4) / ideal)
    assert ndcg(["x", "a"], JUDGED, 1) == 0


def test_recall_counts_what_is_relevant():
    assert recall(["c", "d", "a"], JUDGED, 10) == 0.5
    assert recall(["c", "d", "a"], JUDGED, 2) == 0


def test_mrr_is_one_over_the_first_relevant_rank():
    assert mrr(["x", "b", "a"], JUDGED, 10) == 0.5
    assert mrr(["x", "b", "a"], JUDGED, 1) == 0


def test_a_query_without_relevant_documents_scores_nothing():
    assert (ndcg(["a"], {"a": 0}, 10), recall(["a"], {}, 10), mrr(["a"], {}, 10)) == (0, 0, 0)


def test_percentiles_are_values_that_were_measured():
    assert percentile([5, 1, 4, 2, 3], 0.5) == 3
    assert percentile([5, 1, 4, 2, 3], 0.95) == 5
    assert percentile([], 0.5) == 0


@given(st.permutations(list("abcdefgh")), st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-1, 4)))
def test_scores_are_shares_and_the_best_order_is_best(ranking, judged):
    best = sorted(ranking, key=lambda name: -judged.get(name, 0))
    for metric in (ndcg, recall, mrr):
        assert 0 <= metric(ranking, judged, 5) <= metric(best, judged, 5) <= 1 + 1e-12


@given(st.permutations(list("abcdefgh")), st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 4), min_size=1))
def test_scores_are_those_of_trec_eval(ranking, judged):
    qrels = [ir_measures.Qrel("q", name, grade) for name, grade in judged.items()]
    run = [ir_measures.ScoredDoc("q", name, -float(rank)) for rank, name in enumerate(ranking)]
    theirs = ir_measures.calc_aggregate([ir_measures.nDCG @ 5, ir_measures.R @ 5, ir_measures.RR @ 5], qrels, run)
    ours = {
        ir_measures.nDCG @ 5: ndcg(ranking, judged, 5),
        ir_measures.R @ 5: recall(ranking, judged, 5),
        ir_measures.RR @ 5: mrr(ranking, judged, 5),
    }
    assert ours == pytest.approx(theirs)
