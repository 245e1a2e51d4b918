import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.route_features import FOUND, SHAPE, question_shape
from ragsaver.components.router import Question, Trained
from ragsaver.components.router_curve import Curve, Step, cheapest_for
from ragsaver.components.router_model import RouterModel, load_router, losses_of
from ragsaver.errors import SettingsError, UsageError
from ragsaver.eval import route
from ragsaver.eval.route_fitting import calibrate, curve, folds, whole_groups
from ragsaver.eval.route_outcomes import Outcomes, apgr, area, calls_for, read_outcomes, recovered
from ragsaver.eval.route_signs import as_looked_for, signs_found
from ragsaver.models.registry import load_encoder
from ragsaver.settings import EmbeddingSettings, Settings
from tests.commands import as_json

HARD = ["Integrate x^{n} over the unit sphere", "Prove that the group of order {n} is abelian", "Solve {n}x + 7 = y^2"]
EASY = ["What colour is parrot number {n}?", "Who feeds the {n} cats at the harbour?", "Where do {n} boats sleep?"]


def rows(count: int, *, random: bool = False) -> list[dict]:
    """Every other question is hard: there the weak model fails four times in five, elsewhere once in ten."""
    chance = np.random.default_rng(3)
    made = []
    for n in range(count):
        hard = n % 2 == 0
        query = (HARD if hard else EASY)[n // 2 % 3].format(n=n)
        weak = chance.random() < (0.55 if random else 0.2 if hard else 0.9)
        made.append(
            {"query": query, "weak_ok": bool(weak), "strong_ok": bool(chance.random() < 0.95), "group": f"g{n % 7}"}
        )
    return made


def asked_of(text: str, vector: np.ndarray) -> Question:
    return Question(lambda: question_shape(text), lambda: (0.0,) * len(FOUND), lambda: vector)


def write(folder: Path, made: list[dict]) -> Path:
    file = folder / "outcomes.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in made))
    return file


def test_the_command_tells_hard_questions_from_easy_ones(tmp_path: Path):
    report = as_json(tmp_path, "eval", "route", "--data", str(write(tmp_path, rows(300))), "--folds", "5")
    # the best order sends the hard half first: 0.9 of the gap is there
    assert report["apgr"] > 0.66 and report["apgr_new_groups"] > 0.66
    assert report["cpt50"] < 0.35 and report["cpt50"] < report["cpt80"] < 0.6
    assert report["router_ms"] > 0 and report["questions"] == 300


def test_where_nothing_can_be_told_the_figure_is_that_of_chance(tmp_path: Path):
    report = route.evaluate_route(write(tmp_path, rows(400, random=True)), Settings(), 5, lambda done, of: None)
    assert report.apgr == pytest.approx(0.5, abs=0.1)


def test_a_trained_router_is_written_read_and_knows_hard_from_easy(tmp_path: Path):
    data, out = write(tmp_path, rows(300)), tmp_path / "router.json"
    report = as_json(tmp_path, "route", "train", "--data", str(data), "--out", str(out), "--target", "quality=0.9")
    assert report["file"] == str(out) and 0.2 < report["calls"] < 0.6 and report["quality"] >= 0.9
    encoder = load_encoder(EmbeddingSettings())
    model = load_router(out, encoder=encoder.fingerprint)
    asked = ["Solve 12x - 9 = z^4", "Who feeds the grey parrots?"]
    hard, easy = (
        model.judge(vector, question_shape(question))
        for vector, question in zip(encoder.encode(asked, query=True), asked, strict=True)
    )
    assert hard.chances[0] < 0.45 < 0.7 < easy.chances[0]
    step = model.step_for(None, None)
    assert hard.losses[0] > step.above > easy.losses[0]
    assert as_json(tmp_path, "route", "train", "--data", str(data), "--target", "cheap", code=2)["error"]["remedy"]


def test_what_the_index_finds_is_learned_from_where_it_is_asked_for(tmp_path: Path):
    names = [f"{first}{last}" for first in ("Al", "Bor", "Cel", "Dur", "Em") for last in ("ba", "do", "ki", "lo", "ny")]
    (tmp_path / "docs").mkdir()
    for name in names:
        (tmp_path / "docs" / f"{name}.md").write_text(f"# {name}\n\nThe harbour of {name} was built by {name}sen.\n")
    # the same words each time: only what is found tells which questions the documents answer
    made = [
        {"query": f"Who built the harbour of {name}?", "weak_ok": known, "strong_ok": True, "group": name}
        for name in (*names, *(f"{name}x" for name in names))
        for known in [name in names] * 4
    ]
    data = write(tmp_path, made)
    told = as_json(tmp_path, "eval", "route", "--data", str(data), "--search", code=2)["error"]
    assert told["where"] == "--search" and "ragsaver ingest" in told["remedy"]
    as_json(tmp_path, "ingest", "docs")
    out = tmp_path / "router.json"
    as_json(tmp_path, "route", "train", "--data", str(data), "--out", str(out), "--search")
    model = RouterModel.model_validate_json(out.read_text())
    assert model.counted == SHAPE + FOUND
    asked = "Who built the harbour of Zorda?"
    vector, shape = load_encoder(EmbeddingSettings()).encode([asked], query=True)[0], question_shape(asked)
    held, missing = (  # of a question that the documents answer, and of one that they don't
        tuple(as_found[name] for name in FOUND)
        for as_found in (
            dict.fromkeys(FOUND, 1.0) | {"passages": 3.0, "past_turns": 0.0},
            dict.fromkeys(FOUND, 0.3) | {"passages": 3.0, "past_turns": 0.0},
        )
    )
    assert model.judge(vector, shape + held).losses[0] < model.judge(vector, shape + missing).losses[0] - 0.1
    assert as_json(tmp_path, "eval", "route", "--data", str(data), "--search")["questions"] == len(made)


def test_a_target_takes_the_fewest_calls_that_reach_it(tmp_path: Path):
    model, _ = route.train_route(write(tmp_path, rows(200)), Settings(), lambda done, of: None, max_calls=0.25)
    assert model.step_for(None, None).calls <= 0.25 < model.step_for(0.97, None).calls
    assert model.step_for(0.97, 0.25).calls <= 0.25
    reached = [model.step_for(quality, None) for quality in (0.5, 0.7, 0.8, 0.9, 0.95)]
    assert [step.calls for step in reached] == sorted(step.calls for step in reached)
    assert all(step.quality >= quality for step, quality in zip(reached, (0.5, 0.7, 0.8, 0.9, 0.95), strict=True))
    assert model.curve[0].calls == 0.0 and model.curve[-1].calls == 1.0
    assert Curve(model.curve).nearest(model.curve[-1], 0.5).calls == pytest.approx(0.5, abs=0.01)


KINDS = {  # made: which of three models answer them, how often
    "Who feeds the {n} cats at the harbour?": (0.9, 0.92, 0.95),
    "Compare boat {n} with the boat beside it": (0.2, 0.9, 0.95),
    "Prove that the group of order {n} is abelian": (0.1, 0.2, 0.95),
}


def three_models(count: int, **more: object) -> list[dict]:
    """Made outcomes, that say nothing of real models: each of three kinds of questions needs another model."""
    chance = np.random.default_rng(5)
    return [
        {"query": query.format(n=n), "ok": (chance.random(3) < often).tolist(), "group": f"g{n % 7}", **more}
        for n in range(count // 3)
        for query, often in KINDS.items()
    ]


def test_among_three_models_each_kind_of_question_goes_to_the_cheapest_that_will_do(tmp_path: Path):
    data, out = write(tmp_path, three_models(360, cost_usd=[0.001, 0.004, 0.02])), tmp_path / "router.json"
    told = as_json(tmp_path, "route", "train", "--data", str(data), "--out", str(out), "--target", "quality=0.93")
    assert told["shares"] == pytest.approx([1 / 3] * 3, abs=0.08) and told["calls"] == told["shares"][-1]
    assert told["cost"] == pytest.approx((0.05 + 0.2 + 1) / 3, abs=0.07) and told["quality"] >= 0.93
    encoder = load_encoder(EmbeddingSettings())
    model = load_router(out, encoder=encoder.fingerprint)
    router = Trained(model, model.step_for(None, None), ("small", "medium", "large"))
    for place, query in enumerate(KINDS):
        asked = query.format(n=1234)
        vector = encoder.encode([asked], query=True)[0]
        verdict = router.judge(asked_of(asked, vector))
        assert verdict.place == place and "the chance that a model will do: small 0." in verdict.reason
    as_json(tmp_path, "route", "train", "--data", str(data), "--out", str(out), "--target", "cost=0.25")
    bounded = load_router(out, encoder=encoder.fingerprint).step_for(None, None)
    assert bounded.cost <= 0.25 and bounded.quality > 0.6
    report = as_json(tmp_path, "eval", "route", "--data", str(data))
    assert report["apgr"] > 0.7 and report["apgr_new_groups"] > 0.7 and max(report["calibration_error"]) < 0.1
    assert len(report["right"]) == 3 and (report["weak"], report["strong"]) == (report["right"][0], report["right"][-1])


def test_costs_are_bounded_only_where_they_were_recorded(tmp_path: Path):
    data = write(tmp_path, three_models(120))
    error = as_json(tmp_path, "route", "train", "--data", str(data), "--target", "cost=0.5", code=2)["error"]
    assert error["where"] == "--target" and "cost_usd" in error["problem"]
    model, report = route.train_route(data, Settings(), lambda done, of: None, max_calls=0.2)
    assert report.cost is None and report.shares[-1] <= 0.2 and len(model.calibrations) == 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"ok": [True, False]}, "different numbers of models"),
        ({"ok": [False, True, True], "cost_usd": [0.3, 0.2, 0.1]}, "does not grow"),
    ],
)
def test_outcomes_that_are_no_row_of_models_are_refused(tmp_path: Path, change: dict, problem: str):
    made = three_models(102)
    changed = [{**row, **change} for row in made] if "cost_usd" in change else [*made, {**made[0], **change}]
    with pytest.raises(UsageError, match=problem):
        read_outcomes(write(tmp_path, changed))


def test_a_follow_up_is_looked_for_behind_its_conversation_as_when_it_is_asked(tmp_path: Path):
    (tmp_path / "docs").mkdir()
    for name in ("Alba", "Borki"):
        (tmp_path / "docs" / f"{name}.md").write_text(f"# {name}\n\nThe harbour of {name} was built by {name}sen.\n")
    as_json(tmp_path, "ingest", "docs")
    said = [{"role": "user", "content": "Where is Alba?"}, {"role": "assistant", "content": "At the sea [1]."}]
    made = [{"query": "Who built its harbour?", "weak_ok": n % 3 == 0, "strong_ok": True} for n in range(100)]
    made[0]["history"] = said
    made[1]["history"] = said * 3
    outcomes = read_outcomes(write(tmp_path, made))
    assert outcomes.histories[1] == (("user", "Where is Alba?"), ("assistant", "At the sea [1].")) * 3
    assert as_looked_for(outcomes, "none") == outcomes.queries
    assert as_looked_for(outcomes, "rules")[:3] == ("Who built its harbour? Alba",) * 2 + ("Who built its harbour?",)
    settings = Settings(home=tmp_path / ".ragsaver")
    some = outcomes.only(np.arange(100) < 3)
    behind, longer, alone = signs_found(settings, some, "a test", lambda done, of: None)
    turns, coverage = FOUND.index("past_turns"), FOUND.index("coverage")
    assert [row[turns] for row in (behind, longer, alone)] == pytest.approx([np.log1p(n) for n in (2, 6, 0)])
    assert behind[coverage] == 1.0 and not np.array_equal(behind[:turns], alone[:turns])


def test_a_quality_is_kept_by_a_standard_error():
    weak = [False, False, False, True, False] + [True] * 5
    strong = [True, True, True, False, True] + [True] * 5
    outcomes = Outcomes(
        tuple(f"q{n}" for n in range(10)),
        np.column_stack([weak, strong]).astype(np.float64),
        np.zeros(10, dtype=np.int64),
        np.zeros((10, 0)),
        np.zeros((10, 0)),
        ((),) * 10,
    )
    steps = curve(np.arange(10, 0, -1.0)[:, None], outcomes)
    assert steps[0].quality == pytest.approx(6 / 9) and steps[-1].quality == 1.0
    for step in steps:
        changes = [weak[n] - strong[n] if n >= step.calls * 10 else 0 for n in range(10)]
        assert step.quality == pytest.approx(1 + sum(changes) / 9, abs=1e-5)
        assert step.error == pytest.approx(np.std(changes) / np.sqrt(10) / 0.9, abs=1e-5)
    assert steps[-1].error == 0.0
    # with the fourth question, which only the weak model knows, three calls reach all; without it nothing is lost
    assert cheapest_for(steps, 1.0, None, None).calls == 0.5
    old = [Step(**one.model_dump(exclude={"error"})) for one in steps]
    assert cheapest_for(old, 1.0, None, None).calls == 0.3  # written before errors were


def test_as_a_budget_is_pressed_the_share_of_strong_calls_falls_without_jumps(tmp_path: Path):
    model, _ = route.train_route(write(tmp_path, rows(200)), Settings(), lambda done, of: None, max_calls=0.5)
    step = model.step_for(None, None)
    less = [Curve(model.curve).part_of(step, strong / 100) for strong in range(100, -1, -1)]
    assert less[0] == step and less[-1].calls == 0
    assert all(after.calls < before.calls for before, after in itertools.pairwise(less))
    assert all(after.above >= before.above for before, after in itertools.pairwise(less))
    assert max(before.calls - after.calls for before, after in itertools.pairwise(less)) < 0.0101
    assert min(one.quality for one in model.curve) <= less[50].quality <= max(one.quality for one in model.curve)


def test_a_file_that_is_no_router_says_so(tmp_path: Path):
    data = write(tmp_path, rows(120))
    model, _ = route.train_route(data, Settings(), lambda done, of: None)
    file = tmp_path / "router.json"
    file.write_text(model.model_dump_json())
    with pytest.raises(SettingsError, match="another embedding model"):
        load_router(file, encoder="other")
    broken = json.loads(file.read_text())
    for change in (
        {"version": 3},
        {"tiers": 3},
        {"calibrations": []},
        {"counted": list(SHAPE[:-1])},
        {"slopes": broken["level"]},
        {"mean": "?"},
    ):
        file.write_text(json.dumps({**broken, **change}))
        with pytest.raises(SettingsError, match="route train"):
            load_router(file, encoder=model.encoder)
    with pytest.raises(SettingsError, match="generation.router"):
        load_router(tmp_path / "none.json", encoder=model.encoder)
    assert RouterModel.model_validate(broken).model_dump() == model.model_dump()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", ":1: is no JSON"),
        ('{"query": "a", "weak_ok": true}', ":1: `strong_ok`"),
        ('{"query": "a", "ok": [true]}', ":1: `ok`"),
        ('{"query": "a", "ok": [true, true], "weak_ok": true}', ":1: `ok` says it all"),
        ('{"query": "a", "ok": [true, true], "cost_usd": [1, 2, 3]}', ":1: `cost_usd` has 3 models"),
        ('{"query": "a", "ok": [true, true], "history": [{"role": "system", "content": "b"}]}', ":1: `history.0.role`"),
        ('{"query": "a", "weak_ok": true, "strong_ok": true}', "has 1 questions"),
        ('{"query": "a", "weak_ok": true, "strong_ok": true, "found": {"coverage": 1}}', "`found` must have"),
    ],
)
def test_a_row_that_is_wrong_is_named(tmp_path: Path, line: str, problem: str):
    file = tmp_path / "outcomes.jsonl"
    file.write_text(line)
    with pytest.raises(UsageError) as caught:
        read_outcomes(file)
    assert problem in str(caught.value)


def test_without_a_better_model_there_is_nothing_to_route_for(tmp_path: Path):
    same = [{**row, "strong_ok": row["weak_ok"]} for row in rows(100)]
    with pytest.raises(UsageError, match="not better"):
        read_outcomes(write(tmp_path, same))


def test_the_best_and_the_worst_order_bound_what_is_recovered():
    gain = np.array([1.0, 0, 1, 0, 0, 0, 1, -1, 0, 0])
    best, worst, none = (recovered(scores, gain) for scores in (gain, -gain, np.zeros(10)))
    assert best[3] == pytest.approx(1.5) and best[-1] == worst[-1] == pytest.approx(1)
    assert (calls_for(best, 0.5), calls_for(best, 0.8)) == (0.1, 0.2)
    assert apgr(none) == area(none) == pytest.approx(0.5)
    assert apgr(worst) < 0.5 < apgr(best)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([-1.0, 0.0, 1.0])), min_size=1, max_size=30))
def test_the_order_of_rows_decides_nothing(pairs):
    scores, gain = (np.array(one, dtype=float) for one in zip(*pairs, strict=True))
    if gain.sum() <= 0:
        return
    forth, back = recovered(scores, gain), recovered(scores[::-1], gain[::-1])
    np.testing.assert_allclose(forth, back, atol=1e-9)
    assert forth[0] == 0 and forth[-1] == pytest.approx(1)


@given(st.lists(st.integers(0, 9), min_size=20, max_size=200), st.integers(2, 6))
def test_folds_spread_groups_or_keep_them_whole(groups, count):
    numbers = np.array(groups)
    spread = folds(numbers, count)
    for name in np.unique(numbers):
        sizes = np.bincount(spread[numbers == name], minlength=count)
        assert sizes.max() - sizes.min() <= 1
    whole = whole_groups(numbers, count)
    assert all(len(set(whole[numbers == name])) == 1 for name in np.unique(numbers))


def test_a_calibrated_chance_is_how_often_it_happens():
    random = np.random.default_rng(0)
    raw = random.uniform(0.2, 1.0, 5000)
    happened = (random.random(5000) < 1 / (1 + np.exp(-(6 * raw - 4)))).astype(float)
    ((slope, level),) = calibrate(
        np.column_stack([np.zeros(5000), raw]), np.column_stack([1 - happened, np.ones(5000)])
    )
    assert (slope, level) == (pytest.approx(6, abs=0.6), pytest.approx(-4, abs=0.5))


def test_where_numbers_tell_nothing_the_chance_is_how_often_it_happens_and_their_order_stays():
    random = np.random.default_rng(0)
    raw = np.column_stack([np.zeros(2000), random.uniform(0, 1, 2000)])
    lost = random.random(2000) < 0.4 - 0.2 * raw[:, 1]  # the other way round
    calibrations = calibrate(raw, np.column_stack([~lost, np.ones(2000)]).astype(np.float64))
    losses = losses_of(raw, calibrations)[:, 0]
    assert losses == pytest.approx(np.full(2000, lost.mean()), abs=0.001)
    assert (losses[np.argsort(raw[:, 1])][1:] >= losses[np.argsort(raw[:, 1])][:-1]).all()


def test_the_shape_of_a_question_is_counted():
    seen = dict(zip(SHAPE, question_shape("Compute 3 + 4.5, if x is not 2:\nA. 7.5\nB. twelve\nAnswer:"), strict=True))
    assert (seen["options"], seen["negation"], seen["conditional"], seen["asks_to_compute"]) == (2, 1, 1, 1)
    assert seen["numeric_options"] == 0.5 and seen["numbers"] == pytest.approx(np.log1p(4))
    assert all(np.isfinite(question_shape(odd)).all() for odd in ("", "?", "\n", "ß" * 3000))
