"""The free tier gives a sentence as it stands, or says nothing."""

import pytest
from haystack import Document
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.extractive import Signals, best_span, comes_first, extract
from ragsaver.settings import Settings

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
