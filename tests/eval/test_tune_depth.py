"""Passages end where nothing that was judged is lost, and what that saves is said without having seen the questions."""

import numpy as np
import pytest

from ragsaver.components.fusion import Fusion
from ragsaver.eval.recorded_legs import Legs
from ragsaver.eval.tune_depth import FALL_OFFS, LOSS, harmless, kept, shortened
from ragsaver.settings import RetrievalSettings

# Fused by min-max these scores stay what they are: 1.0, 0.9 .. 0.0, ten tokens a passage.
SCORES = {f"p{place}": (10 - place) / 10 for place in range(11)}
SETTINGS = RetrievalSettings(top_k=10, least=2)


def legs(*relevant: str) -> Legs:
    """One passage a document; the vectors' leg alone has found something."""
    documents = {key: key.upper() for key in SCORES}
    return Legs(SCORES, {}, documents, dict.fromkeys(relevant, 1), None, dict.fromkeys(SCORES, 10))


def of(asked: list[Legs], settings: RetrievalSettings = SETTINGS) -> np.ndarray:
    return kept(asked, Fusion.MIN_MAX, 0.5, settings)


def test_passages_end_below_the_last_that_was_judged():
    found = of([legs("P3"), legs("P0")])
    end = harmless([found])
    assert FALL_OFFS[end] == pytest.approx(0.7)
    said = shortened(found[:, 0], found[:, end])
    assert said.model_dump() == {"tokens_saved": 0.6, "ndcg_at_10_change": 0.0, "recall_change": 0.0}


def test_what_one_set_would_lose_keeps_it_for_all():
    shallow, deep = of([legs("P0")]), of([legs("P8")])
    assert FALL_OFFS[harmless([shallow])] == FALL_OFFS[-1]
    assert FALL_OFFS[harmless([shallow, deep])] == pytest.approx(0.2)


def test_a_relevant_document_that_is_too_deep_for_ndcg_counts_too():
    many = {f"p{place}": (20 - place) / 20 for place in range(21)}
    documents = {key: key.upper() for key in many}
    found = of([Legs(many, {}, documents, {"P0": 1, "P15": 1})], RetrievalSettings(top_k=20, least=2))
    assert FALL_OFFS[harmless([found])] == pytest.approx(0.24)  # the step before P15's 0.25


def test_a_loss_that_the_third_digit_does_not_show_is_none():
    loses_one = [legs("P0")] * int(1 / LOSS) + [legs("P9")]
    found = of(loses_one)
    assert harmless([found]) == len(FALL_OFFS) - 1
    assert shortened(found[:, 0], found[:, -1]).recall_change == -LOSS


def test_as_many_stay_as_the_settings_say_and_more_than_top_k_were_never_there():
    assert of([legs("P0")], RetrievalSettings(top_k=4, least=3))[0, [0, -1], 2].tolist() == [40, 30]


def test_a_fall_off_of_nothing_is_left_where_any_other_would_cost():
    found = of([legs("P10")], RetrievalSettings(top_k=11, least=1))
    assert FALL_OFFS[harmless([found])] == 0
