"""The way that orders the judged documents best is found, and said without having seen the questions."""

from pathlib import Path

import pytest

from ragsaver.components.fusion import Fusion
from ragsaver.errors import UsageError
from ragsaver.eval.recorded_legs import Legs
from ragsaver.eval.tune_fusion import FOLDS, FusionReport, tune_fusion
from ragsaver.eval.tune_fusion import judge as judge_with
from ragsaver.settings import RetrievalSettings, Settings
from tests.commands import as_json
from tests.eval.test_datasets import dataset  # noqa: F401 - a fixture

DOCUMENTS = {name: name.upper() for name in "abcdefghijkl"}
TOKENS = dict.fromkeys(DOCUMENTS, 10)


def judge(recorded: dict[str, list[Legs]]) -> FusionReport:
    return judge_with(recorded, RetrievalSettings(least=1))


def legs(words_are_right: bool) -> Legs:
    """One leg has the judged document first, the other one last."""
    right = {name: 1.0 + rank for rank, name in enumerate("abcdefghijkl")}
    wrong = {name: 12.0 - rank for rank, name in enumerate("abcdefghijkl")}
    dense, lexical = (wrong, right) if words_are_right else (right, wrong)
    return Legs(dense, lexical, DOCUMENTS, {"L": 1}, None, TOKENS)


@pytest.mark.parametrize("words_are_right", [True, False])
def test_the_leg_that_is_right_gets_the_weight(words_are_right: bool):
    report = judge({"set": [legs(words_are_right)] * 10})
    assert {row.fusion for row in report.rows} == set(Fusion)
    for row in report.rows:
        assert row.ndcg_at_10 == {"set": 1.0}
        assert row.lexical_weight > 0.5 if words_are_right else row.lexical_weight < 0.5
    assert report.cross_validated == {"set": 1.0}


def test_what_only_a_fold_s_own_questions_would_tell_is_not_used():
    # each fold's questions want the leg that all others do not
    asked = [legs(words_are_right=number % FOLDS == 0) for number in range(2 * FOLDS)]
    report = judge({"set": asked})
    assert 0.75 < report.cross_validated["set"] <= report.rows[0].mean


def test_passages_end_where_only_what_nobody_judged_follows():
    asked = [legs(words_are_right=True)] * 10
    report = judge({"set": asked})
    by_scores = next(row for row in report.rows if row.fusion == Fusion.MIN_MAX)
    assert by_scores.shortened["set"].tokens_saved > 0
    for row in report.rows:
        assert row.fall_off > 0
        assert row.shortened["set"].ndcg_at_10_change == row.shortened["set"].recall_change == 0
    assert report.cross_validated_shortened["set"].tokens_saved > 0


def test_what_ending_early_costs_unseen_questions_is_told():
    # the first fold's last place is relevant too: the others would not keep it
    deep = Legs(legs(True).dense, legs(True).lexical, DOCUMENTS, {"L": 1, "B": 1}, None, TOKENS)
    asked = [deep if number % FOLDS == 0 else legs(words_are_right=True) for number in range(2 * FOLDS)]
    report = judge({"set": asked})
    assert report.cross_validated_shortened["set"].recall_change < 0
    assert all(row.shortened["set"].recall_change == 0 for row in report.rows)


def test_sets_count_alike_however_many_questions_they_have():
    report = judge({"large": [legs(True)] * 20, "small": [legs(False)] * 2})
    row = report.rows[0]
    assert row.mean == pytest.approx((row.ndcg_at_10["large"] + row.ndcg_at_10["small"]) / 2, abs=1e-4)


def test_sets_of_one_name_are_refused_and_not_taken_for_one(dataset: Path, tmp_path: Path):  # noqa: F811
    with pytest.raises(UsageError, match="same name"):
        tune_fusion([dataset, dataset], Settings(home=tmp_path))


def test_the_command_reads_datasets(dataset: Path, tmp_path: Path):  # noqa: F811
    said = as_json(tmp_path, "eval", "tune-fusion", "--dataset", str(dataset))
    assert set(said) == {"queries", "rows", "cross_validated", "cross_validated_shortened"}
    assert len(said["rows"]) == 4
    row = {"fusion", "lexical_weight", "ndcg@10", "mean", "fall_off", "shortened"}
    assert all(set(one) == row for one in said["rows"])
    for one in (*(one["shortened"] for one in said["rows"]), said["cross_validated_shortened"]):
        assert set(one[dataset.name]) == {"tokens_saved", "ndcg@10_change", "recall_change"}
