import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.route_features import FOUND, SHAPE, question_shape
from ragsaver.components.router import Cheapest, Question, Rules, Trained, open_router
from ragsaver.components.router_curve import Curve, Step, cheapest_for, places_of, spending
from ragsaver.components.router_model import RouterModel, load_router, logistic, pack
from ragsaver.errors import SettingsError
from ragsaver.models.registry import load_encoder
from ragsaver.settings import EmbeddingSettings, GenerationSettings

NAMES = ("small", "medium", "large")
# made by hand: as the threshold falls questions go up, first to the medium model, then to the large one
CURVE = (
    Step(calls=0.0, above=0.9, quality=0.6, shares=(1.0, 0.0, 0.0), cost=0.1),
    Step(calls=0.0, above=0.6, quality=0.8, shares=(0.5, 0.5, 0.0), cost=0.2),
    Step(calls=0.2, above=0.3, quality=0.95, shares=(0.4, 0.4, 0.2), cost=0.4),
    Step(calls=0.6, above=0.1, quality=1.0, shares=(0.2, 0.2, 0.6), cost=0.7),
    Step(calls=1.0, above=-0.9, quality=0.99, shares=(0.0, 0.0, 1.0), cost=1.0),
)


def model_of(*numbers: float, **more: object) -> RouterModel:
    """A router that expects these shares of right answers of any question."""
    arrays = {"mean": np.zeros(len(SHAPE)), "scale": np.ones(len(SHAPE)), "centres": np.array([1.0, 0.0])}
    arrays |= {"spread": np.ones(1), "slopes": np.zeros((2 + len(SHAPE) + 1, len(numbers))), "level": np.array(numbers)}
    return RouterModel(
        **{
            "version": 2,
            "encoder": "made",
            "encoder_name": "made",
            "dim": 2,
            "counted": SHAPE,
            "tiers": len(numbers),
            "calibrations": ((4.0, -2.0),) * (len(numbers) - 1),
            "curve": CURVE,
            **{name: pack(array) for name, array in arrays.items()},
            **more,
        }
    )


def asked(text: str = "Who signs a permit?", **more: object) -> Question:
    return Question(
        lambda: question_shape(text),
        lambda: tuple(0.0 for _ in FOUND),
        lambda: np.array([1.0, 0.0], dtype=np.float32),
        **more,
    )


def test_nothing_is_made_of_a_question_that_no_router_looks_at():
    def looked() -> None:
        raise AssertionError

    assert Cheapest().judge(Question(looked, looked, looked)).place == 0


@pytest.mark.parametrize(
    ("text", "place"),
    [("Who signs a permit?", 0), ("Why is it so?", 1), ("Compare both, and why?", 2), ("Why prove it, if so?", 2)],
)
def test_by_rule_a_question_with_half_of_the_signs_begins_in_the_middle(text: str, place: int):
    verdict = Rules(NAMES).judge(asked(text))
    assert verdict.place == place and NAMES[place] in verdict.reason
    assert Rules(NAMES).judge(asked(text, strong=0.0)).place == 0
    assert Rules(NAMES[::2]).judge(asked(text)).place == place // 2


@pytest.mark.parametrize(
    ("numbers", "place"),
    [((0.8, 0.8, 0.8), 0), ((0.3, 0.8, 0.8), 1), ((0.1, 0.2, 0.9), 2), ((0.8, 0.2, 0.8), 0)],
)
def test_the_cheapest_model_whose_chance_is_enough_is_asked_first(numbers: tuple[float, ...], place: int):
    verdict = Trained(model_of(*numbers), CURVE[2], NAMES).judge(asked())
    chances = [1 - float(logistic(4.0 * (numbers[-1] - one) - 2.0)) for one in numbers[:-1]]
    assert verdict.place == place
    assert f"small {chances[0]:.2f}, medium {chances[1]:.2f}; 0.70 is needed, so {NAMES[place]}" in verdict.reason


def test_a_wish_for_less_or_more_moves_the_threshold_and_a_pressed_budget_only_down():
    router = Trained(model_of(0.3, 0.45, 0.8), CURVE[2], NAMES)  # chances of 0.50 and 0.65
    wished = {wish: router.judge(asked(wish=wish)) for wish in ("minimum", "balanced", "maximum")}
    assert [one.place for one in wished.values()] == [0, 2, 2]
    assert "0.40 is needed" in wished["minimum"].reason
    pressed = [router.judge(asked(strong=strong)).place for strong in (1.0, 0.8, 0.5, 0.0)]
    assert pressed == sorted(pressed, reverse=True) and pressed[-1] == 0


def test_the_maximum_is_the_strongest_model_unless_budgets_press():
    easy = model_of(0.8, 0.8, 0.8)  # any model will do, by its chances
    for router in (Rules(NAMES), Trained(easy, CURVE[2], NAMES), Trained(easy, CURVE[0], NAMES)):
        verdict = router.judge(asked(wish="maximum"))
        assert (verdict.place, "strongest" in verdict.reason) == (2, True)
        assert router.judge(asked()).place == 0
        assert router.judge(asked(wish="maximum", strong=0.0)).place == 0
    assert Cheapest().judge(asked(wish="maximum")).place == 0, "`router: never` is the operator's word"
    pressed = Rules(NAMES).judge(asked("Compare both, and why, if so?", wish="maximum", strong=0.5))
    assert (pressed.place, "3 of 3 signs" in pressed.reason) == (2, True)


@pytest.mark.parametrize("strong", [0.9, 0.5, 0.1])
def test_a_pressed_wish_for_the_maximum_spends_that_part_of_the_strongest_s_money(strong: float):
    router, step = Trained(model_of(0.3, 0.45, 0.8), CURVE[0], NAMES), Curve(CURVE).part_of(CURVE[-1], strong)
    verdict = router.judge(asked(wish="maximum", strong=strong))
    assert f"{min(1 - step.above, 1.0):.2f} is needed" in verdict.reason


def test_targets_take_the_cheapest_point_that_keeps_them():
    assert cheapest_for(CURVE, 0.8, None, None) == CURVE[1]
    assert cheapest_for(CURVE, 0.9, None, None) == CURVE[2]
    assert cheapest_for(CURVE, None, None, 0.5) == CURVE[2]
    assert cheapest_for(CURVE, None, 0.0, None) == CURVE[1]
    assert cheapest_for(CURVE, 0.99, None, 0.3) == CURVE[1]  # the best that the money buys
    assert cheapest_for(CURVE, None, None, 0.05) == CURVE[0]


def test_what_is_spent_is_told_by_costs_where_there_are_any():
    assert spending(CURVE).tolist() == pytest.approx([0, 1 / 9, 3 / 9, 6 / 9, 1])
    bare = [step.model_copy(update={"cost": None}) for step in CURVE]
    assert spending(bare).tolist() == pytest.approx([0, 0.25, 0.4, 0.7, 1])
    two = [Step(calls=calls, above=-calls, quality=1) for calls in (0.0, 0.3, 1.0)]
    assert spending(two).tolist() == pytest.approx([0, 0.3, 1])
    assert Curve(CURVE).nearest(CURVE[3], 0.5) == CURVE[2]
    half = Curve(CURVE).part_of(CURVE[3], 0.5)
    assert half.calls == pytest.approx(0.2) and half.shares == pytest.approx((0.4, 0.4, 0.2))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), min_size=1), st.floats(0, 1))
def test_as_the_threshold_falls_no_question_goes_down(losses: list[tuple[float, ...]], above: float):
    found = np.array(losses)
    lower, higher = places_of(found, above / 2), places_of(found, above)
    assert (lower >= higher).all() and set(lower) <= {0, 1, 2, 3}


def test_a_router_of_two_models_as_older_versions_wrote_it_decides_between_first_and_last(tmp_path: Path):
    points = [(0.0, 0.5, 0.7), (0.4, 0.2, 0.96), (1.0, -1.0, 1.0)]
    curve = [{"calls": calls, "above": above, "quality": quality, "error": 0.0} for calls, above, quality in points]
    made = model_of(0.5, 0.8, curve=curve).model_dump(mode="json", exclude={"tiers", "calibrations", "max_cost"})
    file = tmp_path / "router.json"
    file.write_text(json.dumps({**made, "version": 1, "calibration": [6.0, -3.0], "curve": curve, "min_quality": 0.95}))
    model = load_router(file, encoder="made")
    for names in (NAMES, NAMES[::2]):
        verdict = Trained(model, model.step_for(None, None), names).judge(asked())
        assert verdict.place == len(names) - 1
        assert "right with a chance of 0.50, the strongest gains +0.30: above +0.20 (40%" in verdict.reason
        assert Trained(model, model.step_for(0.7, None), names).judge(asked()).place == 0


@pytest.mark.parametrize(
    ("models", "settings", "told"),
    [
        (2, {}, "of 3 models, and 2 are configured"),
        (4, {}, "of 3 models, and 4 are configured"),
        (3, {"router_max_cost": 0.5}, "without `cost_usd`"),
    ],
)
def test_a_router_that_does_not_fit_the_settings_is_named(tmp_path: Path, models: int, settings: dict, told: str):
    encoder = load_encoder(EmbeddingSettings())
    bare = tuple(step.model_copy(update={"cost": None}) for step in CURVE)
    file = tmp_path / "router.json"
    file.write_text(model_of(0.3, 0.5, 0.8, curve=bare, encoder=encoder.fingerprint).model_dump_json())
    wishes = GenerationSettings.model_validate(
        {"models": [{"name": f"model-{n}"} for n in range(models)], "router": str(file), **settings}
    )
    with pytest.raises(SettingsError, match=told):
        open_router(wishes, encoder)
