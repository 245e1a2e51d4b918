"""Tuning a gate: what it learns where there is something to learn, and what it claims where there is not."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ragsaver.components.rerank_features import NAMES
from ragsaver.components.rerank_gate import load_gate
from ragsaver.components.rerank_outcome import NAMES as OUTCOME_NAMES
from ragsaver.errors import UsageError
from ragsaver.eval.dataset import judged_queries, load_dataset
from ragsaver.eval.gate_fitting import WEIGHTS, Choice, Judged, Target, choose, fit, folds, try_nested, try_out
from ragsaver.eval.harness import indexed
from ragsaver.eval.metrics import ndcg
from ragsaver.eval.recorded_rankings import Ranking
from ragsaver.eval.retrieval import evaluate_retrieval
from ragsaver.eval.tune_gate import read_target, tune_gate
from ragsaver.settings import RerankSettings, Settings
from tests.commands import as_json, run
from tests.rerank_server import Script, rerank_server

SEEN = len(NAMES)


def judged(count: int, seed: int, *, learnable: bool) -> Judged:
    """Questions of which a third is helped by reranking and a third harmed; the first feature says which, or nothing."""
    rng = np.random.default_rng(seed)
    gain = rng.permutation(np.repeat([-0.4, 0.0, 0.4], count // 3))
    seen = rng.normal(size=(len(gain), SEEN))
    if learnable:
        seen[:, 0] = gain * 5 + rng.normal(size=len(gain)) * 0.3
    never = np.full(len(gain), 0.5)
    always = np.tile(never + gain, (len(WEIGHTS), 1))
    outcomes = np.zeros((len(WEIGHTS), len(gain), len(OUTCOME_NAMES)))
    return Judged(seen, never, always, always != never, outcomes, np.arange(len(gain)) % 2)


def test_a_gate_that_can_see_who_is_helped_beats_never_and_always():
    data, target = judged(600, 1, learnable=True), Target(calls=0.4)
    tried = try_out(data, choose(data, target, seed=0))
    nested = try_nested(data, target)
    assert min(tried.gated.mean(), nested.gated.mean()) > 0.6 > data.always[0].mean() + 0.05
    assert nested.always.mean() == pytest.approx(data.always[0].mean())
    for number in (0, 1):
        assert tried.called[data.sets == number].mean() <= 0.4
        assert nested.called[data.sets == number].mean() <= 0.42


def test_what_can_not_be_learned_is_not_claimed():
    gained = [try_nested(judged(300, seed, learnable=False), Target()).gated.mean() - 0.5 for seed in range(4)]
    assert abs(np.mean(gained)) < 0.02, "left-out questions must show no gain where there is none"


def test_of_the_weights_with_which_the_gate_loses_to_nobody_the_best_is_taken():
    data = judged(600, 3, learnable=True)
    gain = data.always[0] - data.never
    mostly = np.where(np.arange(len(gain)) % 10, 0.3, -0.1)  # helped, who can't be seen: no gate is as good as always
    always = np.tile(data.never + mostly, (len(WEIGHTS), 1))
    always[2], always[4] = data.never + gain / 8, data.never + gain / 4
    assert choose(replace(data, always=always), Target(calls=0.4), seed=0).weight == 4
    always[4] = always[0]
    assert choose(replace(data, always=always), Target(calls=0.4), seed=0).weight == 2


def test_what_the_outcome_shows_decides_whether_it_is_taken():
    data = judged(600, 4, learnable=False)
    plain = try_out(data, Choice(0, 0.4))
    outcomes = data.outcomes.copy()
    outcomes[:, :, 2] = data.always - data.never  # now it can be seen, once the reranker has answered
    shown = try_out(replace(data, outcomes=outcomes), Choice(0, 0.4))
    assert (plain.called == shown.called).all()
    assert plain.gated.mean() == pytest.approx(0.5, abs=0.03) and shown.gated.mean() > 0.53
    assert (shown.gated >= data.never - 1e-9).all(), "nothing is taken that is worse"


def test_a_target_of_quality_takes_the_fewest_calls_that_reach_it():
    data = judged(600, 2, learnable=True)
    modest, more = (choose(data, Target(calls=1.0, ndcg=ndcg), seed=0) for ndcg in (0.53, 0.6))
    assert modest.share < more.share < 0.45
    assert choose(data, Target(calls=0.1), seed=0).share <= 0.1


def test_the_model_finds_the_side_that_helps_and_stays_finite():
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(200, SEEN))
    seen[:, 3] = 1.0
    model = fit(seen, seen[:, 0] > 0)
    assert model.weights[0] == max(model.weights) > 0.5
    for helped in (np.zeros(200, dtype=bool), np.ones(200, dtype=bool), seen[:, 0] > 0):
        chances = fit(seen, helped).chances(seen)
        assert np.isfinite(chances).all()
        assert chances.mean() == pytest.approx(helped.mean(), abs=0.02)


def test_folds_part_every_data_set_evenly():
    sets = np.repeat([0, 1], [50, 205])
    fold = folds(sets, seed=3)
    for number in (0, 1):
        sizes = np.bincount(fold[sets == number], minlength=5)
        assert sizes.max() - sizes.min() <= 1
    assert (fold == folds(sets, seed=3)).all()


def test_a_recorded_ranking_is_scored_by_its_documents():
    ranking = Ranking((0.0,) * SEEN, (1.0, 0.5, 0.1), (0.0, 5.0, 1.0), ("a", "b", "a"), ("a", "b", "c"), {"b": 1})
    assert ranking.never() == pytest.approx(1 / np.log2(3)) and ranking.always(1.0) == 1.0
    assert ranking.moved(1.0) and not ranking.moved(0.0)


@pytest.mark.parametrize("text", ["calls=0", "calls=2", "speed=1", "calls", "calls=", "ndcg=nan"])
def test_a_target_that_makes_no_sense_is_refused(text: str):
    with pytest.raises(UsageError, match="no target"):
        read_target(text)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Sixty documents, one question to each; every third one is asked in words of its own and of another one's."""
    folder = tmp_path / "set"
    folder.mkdir()
    animals = [f"{kind}{n}" for n in range(12) for kind in ("owl", "parrot", "otter", "lynx", "toad")]
    corpus = [
        {"_id": f"d{n}", "title": "", "text": f"The {one} eats {n + 3} grams of seeds and sleeps {n} hours a day."}
        for n, one in enumerate(animals)
    ]
    queries = [
        {"_id": f"q{n}", "text": f"How much does the {one} eat, unlike the {animals[n - 1] if n % 3 else one}?"}
        for n, one in enumerate(animals)
    ]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels.tsv").write_text("q\td\ts\n" + "".join(f"q{n}\td{n}\t1\n" for n in range(len(animals))))
    return folder


def test_the_command_tunes_a_gate_that_retrieval_then_uses(dataset: Path, tmp_path: Path):
    out = tmp_path / "made.json"
    report = as_json(
        tmp_path, "eval", "tune-gate", "--dataset", str(dataset), "--target", "calls=0.4", "--out", str(out)
    )
    (reached,) = report["datasets"].values()
    assert set(report) == {"reranker", "weight", "share", "datasets", "file"}
    plain, nested = {"never", "always", "gated", "calls"}, {"always_nested", "gated_nested", "calls_nested"}
    assert set(reached) == plain | nested | {"queries", "reranker_alone", "ceiling"}
    assert reached["ceiling"] >= max(reached["never"], reached["always"], reached["gated"]) and reached["calls"] <= 0.5
    gate = load_gate(str(out))
    assert (gate.share, gate.weight, gate.reranker) == (report["share"], report["weight"], report["reranker"])
    measured = as_json(
        tmp_path, "eval", "retrieval", "--dataset", str(dataset),
        RAGSAVER_RERANK__MODE="gated", RAGSAVER_RERANK__GATE=str(out), RAGSAVER_RERANK__DEADLINE_MS="60000",
    )  # fmt: skip
    assert 0 < measured["rerank_rate"] <= 0.5
    nowhere = ("--out", str(tmp_path / "nowhere" / "gate.json"))
    refused = run(tmp_path, "eval", "tune-gate", "--dataset", str(dataset), *nowhere, code=2).stderr
    assert "no file can be written there" in refused and "reranked" not in refused
    assert "no target" in run(tmp_path, "eval", "tune-gate", "--dataset", str(dataset), "--target", "x", code=2).stderr


def test_always_reranking_is_reported_with_its_price_and_never_without(dataset: Path, tmp_path: Path):
    priced = RerankSettings(mode="always", deadline_ms=60_000, usd_per_1k_calls=3)
    always = evaluate_retrieval(dataset, Settings(home=tmp_path, rerank=priced))
    assert (always.rerank_rate, float(always.cost_usd_per_query)) == (1.0, 0.003)
    never = evaluate_retrieval(dataset, Settings(home=tmp_path, rerank=RerankSettings(mode="never")))
    assert (never.rerank_rate, never.cost_usd_per_query) == (0.0, 0)


def test_what_is_measured_is_what_a_search_gives(dataset: Path, tmp_path: Path):
    settings = Settings(home=tmp_path)
    measured = evaluate_retrieval(dataset, settings)
    assert 0 < measured.rerank_rate < 1 and measured.cost_usd_per_query == 0
    data = load_dataset(dataset)
    queries = judged_queries(data, dataset)
    with indexed(data, settings) as runtime:
        found = [runtime.engine().search(query.text, top_k=20).passages for query in queries]
    gains = [
        ndcg(list(dict.fromkeys(one.source for one in some)), data.judged[query.id], 10)
        for query, some in zip(queries, found, strict=True)
    ]
    assert round(sum(gains) / len(gains), 4) == measured.ndcg_at_10


def test_too_few_questions_to_learn_from_are_refused(dataset: Path, tmp_path: Path):
    lines = (dataset / "qrels.tsv").read_text().splitlines()
    (dataset / "qrels.tsv").write_text("\n".join(lines[:20]))
    script = Script()
    with rerank_server(script) as url, pytest.raises(UsageError, match="fewer than 50"):
        rerank = RerankSettings(backend="remote", url=url)
        tune_gate([dataset], Settings(home=tmp_path, rerank=rerank), Target(), lambda *_: None)
    assert not script.requests  # each would have been paid for
    with pytest.raises(UsageError, match="same name"):
        tune_gate([dataset, dataset], Settings(home=tmp_path), Target(), lambda *_: None)
