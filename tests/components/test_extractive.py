"""The free tier gives a sentence as it stands, or says nothing."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from haystack import Document
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragsaver.components.extractive import Signals, best_span, comes_first, extract, lead_of
from ragsaver.settings import Settings

# Every fourth of the questions that benchmarks/extractive_right.py asks: group, signs, and whether it is right.
SAMPLES = Path(__file__).resolve().parents[1] / "data"

shares = st.floats(0, 1)


def passage(*spans: str, worth: tuple[float, ...], dense: float | None = 0.6, heading: str = "") -> Document:
    meta = {"spans": list(spans), "span_worth": list(worth), "dense_score": dense, "heading": heading}
    return Document(content=" ".join(spans), meta=meta)


SEEDS = passage("A parrot eats forty grams of seeds.", "Water is changed daily.", worth=(2.0, 0.4))
OTHER = passage("The office issues permits.", worth=(1.0,))


def test_the_sentence_that_is_worth_most_is_the_answer():
    found = extract("How many grams of seeds does a parrot eat?", [OTHER, SEEDS], 0.5)
    assert (found.text, found.passage) == ("A parrot eats forty grams of seeds.", 1)


def test_of_equals_the_first_passage_s_sentence_is_taken():
    assert best_span("What?", [passage("one", worth=(1.0,)), passage("two", worth=(1.0,))]) == (0, "one")


@pytest.mark.parametrize(
    "echo",
    [
        "How many grams of seeds does a parrot eat?",
        "What does a parrot eat?",
        'Ask it: "how many grams of  seeds does a parrot eat?" and wait.',
    ],
)
def test_a_sentence_that_asks_or_quotes_the_question_is_no_answer(echo: str):
    question = "How many grams of seeds does a parrot eat?"
    both = passage(echo, "A parrot eats forty grams of seeds.", worth=(9.0, 1.0))
    assert extract(question, [both], 0.5).text == "A parrot eats forty grams of seeds."
    assert extract(question, [passage(echo, worth=(9.0,))], 0.0).text is None


@pytest.mark.parametrize(
    ("question", "documents", "reason"),
    [
        ("Which quark did the accelerator find?", [SEEDS, OTHER], "not enough|enough confidence"),
        ("anything", [], "no passage was found"),
        ("anything", [passage("Anything at all?", worth=(1.0,))], "nothing in the documents comes near"),
        ("What is it?", [SEEDS], "no words to look for"),
        ("鹦鹉吃什么", [SEEDS], "enough confidence"),
    ],
)
def test_it_says_nothing_and_why_where_the_documents_hold_no_answer(question, documents, reason):
    found = extract(question, documents, 0.5)
    assert found.text is None
    assert any(part in found.reason for part in reason.split("|"))


def test_what_was_asked_may_be_said_as_it_is():
    text = "Parrots need a permit."
    assert extract("Do parrots need a permit?", [passage(text, worth=(1.0,))], 0.5).text == text


def test_words_of_the_heading_count_as_covered():
    question = "How many grams of seeds for a parrot?"
    bare = passage("It eats forty grams.", worth=(1.0,), dense=0.5)
    named = passage("It eats forty grams.", worth=(1.0,), dense=0.5, heading="Parrot > Seeds")
    assert extract(question, [named], 0.0).confidence > extract(question, [bare], 0.0).confidence


def test_a_passage_that_only_bm25_found_is_still_judged_by_its_words():
    text = "A parrot eats forty grams of seeds."
    assert extract("A parrot eats grams of seeds?", [passage(text, worth=(1.0,), dense=None)], 0.5).text == text


@given(shares, shares, shares, shares)
def test_confidence_is_a_share_that_rises_with_every_signal(cosine, coverage, sentence, more):
    low = Signals(cosine, coverage, sentence).confidence
    assert 0 < low < 1
    assert Signals(max(cosine, more), coverage, sentence).confidence >= low
    assert Signals(cosine, max(coverage, more), sentence).confidence >= low
    assert Signals(cosine, coverage, max(sentence, more)).confidence >= low


@given(shares, shares, shares, st.floats(0, 9), st.floats(0, 9))
def test_so_is_how_likely_it_is_right_which_rises_with_its_lead_too(cosine, coverage, sentence, lead, more):
    low = Signals(cosine, coverage, sentence, lead).right
    assert 0 < low < 1
    assert Signals(cosine, coverage, sentence, max(lead, more)).right >= low
    assert Signals(max(cosine, more / 9), coverage, sentence, lead).right >= low


def weighed(groups: Sequence[str]) -> NDArray[np.float64]:
    """Half of all questions have an answer; a quarter lack their passage, a quarter are about something else."""
    shares = {"answerable": 0.5, "near": 0.25, "foreign": 0.25}
    return np.array([shares[one] / groups.count(one) for one in groups])


@pytest.fixture(scope="module", params=["words", "tokens"])
def judged(request: pytest.FixtureRequest) -> Mapping[str, NDArray[np.float64]]:
    """Questions of SQuAD and Cranfield, what is said of what is shown for them, and whether it is right."""
    rows = json.loads((SAMPLES / f"extractive_right_{request.param}.json").read_text())
    signals = [Signals(*row[1:5], by_tokens=request.param == "tokens") for row in rows]
    return {
        "weight": weighed([row[0] for row in rows]),
        "right": np.array([row[5] for row in rows], dtype=np.float64),
        "stated": np.array([one.right for one in signals]),
        "before": np.array([one.confidence for one in signals]),
    }


def off(judged: Mapping[str, NDArray[np.float64]], stated: str) -> float:
    """How far what is stated is from what is right, in the mean over ten bins (expected calibration error)."""
    said, right, weight = judged[stated], judged["right"], judged["weight"]
    bins = [said >= low / 10 for low in range(10)]
    mine = [bins[n] & ~(bins[n + 1] if n < 9 else np.zeros_like(bins[n])) for n in range(10)]
    return sum(abs(float(weight[one] @ (said[one] - right[one]))) for one in mine)


def test_what_is_said_to_be_right_with_a_chance_is_right_so_often(judged):
    assert off(judged, "stated") < 0.04
    assert off(judged, "before") > off(judged, "stated") + 0.03  # that there is an answer says less


def test_of_what_answers_in_a_model_s_place_95_of_100_are_right_and_that_is_some(judged):
    sure = judged["stated"] >= Settings().generation.extractive_sure_confidence
    right, weight = judged["right"][sure], judged["weight"][sure]
    assert weight @ right / weight.sum() >= 0.95
    assert weight.sum() > 0.08  # of all questions, half of which have no answer


def test_a_sentence_is_ahead_by_what_it_is_worth_more_than_the_next_one():
    assert lead_of([SEEDS, OTHER]) == 1.0
    assert lead_of([OTHER]) == lead_of([]) == 0.0
    question = "How many grams of seeds does a parrot eat?"
    rival = passage("A parrot eats fifty grams of seeds.", worth=(1.9,))
    alone, among = (extract(question, some, 0.5) for some in ([SEEDS, OTHER], [SEEDS, rival]))
    assert alone.right > among.right and alone.confidence == among.confidence


def test_a_lead_by_tokens_says_something_else_than_one_by_words():
    by_tokens, by_words = (
        passage("A parrot eats forty grams of seeds.", "It drinks.", worth=(4.0, 1.0), dense=0.8) for _ in range(2)
    )
    by_tokens.meta["matched"] = "tokens"
    found = [extract("How many grams of seeds does a parrot eat?", [one], 0.5) for one in (by_tokens, by_words)]
    assert found[0].right != found[1].right and found[0].confidence == found[1].confidence


@pytest.mark.parametrize(
    ("model", "wished", "first"),
    [
        ("bundled", {}, True),
        ("bundled", {"extractive_first": False}, False),
        ("another/model", {}, False),
        ("another/model", {"extractive_first": True}, True),
        ("another/model", {"extractive_first": False}, False),
    ],
)
def test_another_model_s_vectors_make_the_free_tier_sure_only_where_that_is_wished(model, wished, first):
    assert comes_first(Settings.model_validate({"embedding": {"model": model}, "generation": wished})) is first
