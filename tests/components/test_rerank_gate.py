"""What the gate sees, decides and remembers."""

import json
import math
import statistics
from pathlib import Path

import pytest
import yaml
from haystack import Document
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ragsaver.components import rerank_gate
from ragsaver.components.rerank_features import NAMES, features
from ragsaver.components.rerank_gate import (
    SHIPPED,
    Coefficient,
    Gate,
    Recent,
    Taking,
    load_gate,
    threshold,
)
from ragsaver.components.rerank_order import left_behind, mix, new_order
from ragsaver.components.rerank_outcome import NAMES as OUTCOME_NAMES
from ragsaver.components.rerank_outcome import outcome
from ragsaver.errors import SettingsError

score = st.floats(0, 1)
scores = st.lists(score, min_size=1, max_size=25)
leg = st.one_of(st.none(), st.floats(-1, 50))
passages = st.lists(st.tuples(score, leg, leg, st.sampled_from(["", "Owls hunt.", "A parrot eats seeds. So it is."])), min_size=1, max_size=25)  # fmt: skip


def documents(rows) -> list[Document]:
    return [
        Document(content=text, score=fused, meta={"dense_score": dense, "lexical_score": lexical})
        for fused, dense, lexical, text in sorted(rows, key=lambda row: -row[0])
    ]


def gate(**changes) -> Gate:
    given = {
        "reranker": "maxsim all-MiniLM-L6-v2-int8",
        "weight": 0.5,
        "top_n": 20,
        "share": 0.3,
        "max_share": 0.4,
        "skipped_moved": 0.1,
        "intercept": 0.0,
        "coefficients": {name: Coefficient(mean=0, scale=1, weight=0) for name in NAMES},
        "chances": (0.1, 0.5, 0.9),
        **changes,
    }
    return Gate(**given)


def taking(intercept: float) -> Taking:
    names = (*NAMES, *OUTCOME_NAMES)
    return Taking(intercept=intercept, coefficients={name: Coefficient(mean=0, scale=1, weight=0) for name in names})


@given(st.text(max_size=60), passages)
def test_whatever_is_asked_and_found_can_be_judged(question, rows):
    seen = features(question, documents(rows), "acme")
    assert len(seen) == len(NAMES) and all(map(math.isfinite, seen))
    assert 0 <= gate().chance(seen) <= 1


def test_legs_that_agree_and_a_clear_lead_look_different_from_a_tie():
    clear = [(1.0, 0.9, 9.0, "Owls hunt voles."), (0.2, 0.3, 2.0, "Cats sleep."), (0.1, 0.2, 1.0, "Dogs bark.")]
    tie = [(0.5, 0.9, 1.0, "Cats sleep."), (0.5, 0.2, 9.0, "Owls hunt voles."), (0.4, 0.1, 2.0, "Dogs bark.")]
    sure, unsure = (dict(zip(NAMES, features("What do owls hunt?", documents(rows), "acme"), strict=True)) for rows in (clear, tie))  # fmt: skip
    assert sure["agree_1"] == 1 and unsure["agree_1"] == 0
    assert sure["fused_lead_2"] > unsure["fused_lead_2"]
    assert sure["sentence_first_is_best"] == 1 and unsure["sentence_first_is_best"] == 0
    assert unsure["lexical_place_of_first"] > sure["lexical_place_of_first"] == 0


def test_the_chance_follows_the_weight_of_what_is_seen():
    coefficients = {**gate().coefficients, "agree_1": Coefficient(mean=0.5, scale=0.5, weight=-2)}
    judging = gate(coefficients=coefficients)
    seen = [0.0] * len(NAMES)
    disagree = judging.chance(seen)
    seen[NAMES.index("agree_1")] = 1.0
    assert judging.chance(seen) == pytest.approx(1 / (1 + math.exp(2))) and disagree > 0.8
    assert gate(intercept=1e9).chance(seen) == 1 and gate(intercept=-1e9).chance(seen) < 1e-9


@given(st.lists(score, min_size=1, max_size=200), score)
def test_no_more_than_the_share_is_above_the_threshold(chances, share):
    above = sum(chance > threshold(chances, share) for chance in chances)
    assert above <= share * len(chances)
    if len(set(chances)) == len(chances):
        assert above == int(share * len(chances))


@given(st.lists(score, min_size=2, max_size=100), score, score)
def test_a_larger_share_never_takes_fewer(chances, one, other):
    low, high = sorted((one, other))
    assert threshold(chances, high) <= threshold(chances, low)


@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_the_share_of_calls_is_kept_on_any_corpus_and_collections_do_not_mix(scale):
    recent = Recent([n / 20 for n in range(21)])
    called = []
    for n in range(1000):
        chance = scale * ((n * 7919) % 1000) / 1000
        called.append(chance > recent.threshold(("t", "c"), chance, 0.3))
        recent.threshold(("t", "other"), 1.0, 0.3)
    assert statistics.mean(called[500:]) == pytest.approx(0.3, abs=0.02)
    assert statistics.mean(called) <= 0.33


@given(st.lists(score, max_size=30), st.lists(score, min_size=1, max_size=30), score)
def test_a_threshold_is_that_of_the_latest_chances(begin_with, chances, share):
    recent, most = Recent(begin_with), 20 + len(begin_with)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rerank_gate, "_RECENT", most)
        for n, chance in enumerate(chances, start=1):
            latest = [*begin_with, *chances[:n]][-most:]
            assert recent.threshold("c", chance, share) == threshold(latest, share)


ranked = scores.flatmap(
    lambda fused: st.tuples(
        st.just(sorted(fused, reverse=True)),
        st.lists(st.floats(-1e3, 1e3), min_size=len(fused), max_size=len(fused)),
    )
)


@given(ranked, score)
def test_whatever_a_reranker_says_its_outcome_is_seen(given_scores, weight):
    fused, reranked = given_scores
    seen = outcome(fused, reranked, mix(fused, reranked, weight))
    assert len(seen) == len(OUTCOME_NAMES) and all(map(math.isfinite, seen))


def test_a_reranker_that_agrees_looks_different_from_one_that_turns_everything_round():
    fused = [0.9, 0.6, 0.3, 0.2, 0.1, 0.0]
    agrees, turns = (
        dict(zip(OUTCOME_NAMES, outcome(fused, given, mix(fused, given, 0.9)), strict=True)) for given in (fused, fused[::-1])
    )  # fmt: skip
    assert agrees["orders_correlate"] == pytest.approx(1) and turns["orders_correlate"] < -0.8
    assert agrees["reranked_first_behind"] == agrees["new_first_came_from"] == agrees["new_first_fused_behind"] == 0
    assert turns["reranked_first_behind"] == pytest.approx(0.9)
    assert turns["new_first_came_from"] == turns["reranked_place_of_best"] == pytest.approx(math.log(6))
    assert turns["new_first_fused_behind"] == turns["new_first_reranked_ahead"] == pytest.approx(1)
    assert (agrees["same_5"], turns["same_5"]) == (1, 0.8) and agrees["reranked_lead_2"] == pytest.approx(0.3)


def test_a_gate_of_an_earlier_version_takes_every_order():
    seen, fused, reranked = [0.0] * len(NAMES), [0.9, 0.1], [0.0, 1.0]
    assert gate().weigh(seen, fused, reranked, 1.0).taken
    weighed = gate(taking=taking(-1.0)).weigh(seen, fused, reranked, 1.0)
    assert not weighed.taken and weighed.scores == mix(fused, reranked, 1.0)
    with pytest.raises(ValidationError, match="tune it again"):
        Taking(intercept=0, coefficients={})


@given(scores.flatmap(lambda fused: st.tuples(st.just(sorted(fused, reverse=True)), st.lists(st.floats(-1e3, 1e3), min_size=len(fused), max_size=len(fused)))), score)  # fmt: skip
def test_new_scores_stay_within_the_range_of_the_old_ones(given_scores, weight):
    fused, reranked = given_scores
    mixed = mix(fused, reranked, weight)
    assert all(fused[-1] - 1e-9 <= one <= fused[0] + 1e-9 for one in mixed)
    order = new_order(mixed)
    assert sorted(order) == list(range(len(fused)))
    assert [mixed[n] for n in order] == sorted(mixed, reverse=True)
    if weight == 0:
        assert order == list(range(len(fused))) or len(set(fused)) < len(fused)
    assert 0 <= left_behind(mixed) <= 1


def test_a_weight_of_one_is_the_reranker_s_own_order_and_of_zero_the_fused_one():
    assert new_order(mix([0.9, 0.5, 0.1], [-3.0, 2.0, 7.0], 1.0)) == [2, 1, 0]
    assert new_order(mix([0.9, 0.5, 0.1], [-3.0, 2.0, 7.0], 0.0)) == [0, 1, 2]
    assert new_order(mix([0.9, 0.5], [4.0, 4.0], 1.0)) == [0, 1]
    assert left_behind([1.0, 0.5, 0.2]) == 0 and left_behind([0.0] * 5 + [1.0]) == 1


def test_a_gate_is_read_as_it_was_written(tmp_path):
    file = tmp_path / "gate.json"
    file.write_text(gate().model_dump_json())
    assert load_gate(str(file)) == gate()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda made: made.update(weight=2), "weight"),
        (lambda made: made.update(more=1), "more"),
        (lambda made: made["coefficients"].pop("agree_1"), "tune it again"),
        (lambda made: made["coefficients"]["agree_1"].update(scale=0), "scale"),
        (lambda made: made.update(chances=[]), "chances"),
    ],
)
def test_a_file_that_is_no_gate_says_why(tmp_path, change, said):
    made = json.loads(gate().model_dump_json())
    change(made)
    (tmp_path / "gate.json").write_text(json.dumps(made))
    with pytest.raises(SettingsError, match=said):
        load_gate(str(tmp_path / "gate.json"))
    (tmp_path / "gate.json").write_text("{")
    with pytest.raises(SettingsError, match="no JSON"):
        load_gate(str(tmp_path / "gate.json"))
    with pytest.raises(SettingsError, match="can't be read"):
        load_gate(str(tmp_path / "none.json"))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_gate_is_for_the_shipped_model_and_calls_no_more_than_it_promises(name: str):
    shipped = load_gate(name)
    assert shipped.reranker == "maxsim all-MiniLM-L6-v2-int8"
    assert set(shipped.tuned_on) == {"cranfield", "squad"}
    assert all(reached["calls"] <= 0.4 for reached in shipped.tuned_on.values())


def test_the_gate_of_the_page_on_quality_was_tuned_to_the_figures_of_that_page():
    page = (Path(__file__).resolve().parents[2] / "docs/how-to/get-the-best-quality.md").read_text()
    files = [yaml.safe_load(block.split("```")[0]) for block in page.split("```yaml\n")[1:]]
    (tuned,) = (load_gate(one["rerank"]["gate"]).tuned_on for one in files if "rerank" in one)
    figures = "{:.3f} and {:.3f}".format(*(tuned[name]["gated"] for name in ("cranfield", "squad")))
    assert f"cross-validated](../benchmarks.md#asking-again) {figures})" in page


def test_the_gate_of_the_usual_retrieval_is_no_worse_than_always_and_never():
    for reached in load_gate("bundled").tuned_on.values():
        assert reached["gated"] >= max(reached["never"], reached["always"])
