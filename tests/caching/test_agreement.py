"""Which questions must never be taken for each other, however near their vectors are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.caching.agreement import FEATURES, bundled_agreement, features, may_agree, taken_apart


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What major events happened in 2002?", "What major events happened in 1992?"),
        ("Is 300 KWD a month enough in Kuwait?", "Is 650 KWD a month enough in Kuwait?"),
        ("What happened on June 29?", "What happened on July 29?"),
        ("Who founded Infosys?", "Who founded Tata?"),
        ("Is there a rehab center near Baker County?", "Is there a rehab center near Peach County?"),
        ("Why should an American move to Europe?", "Why should an American not move to Europe?"),
        ("Can I return it?", "Can't I return it?"),
        ("How is Messi better than Ronaldo?", "How is Ronaldo better than Messi?"),
        ("What is done before a flight?", "What is done after a flight?"),
        ("What are the advantages of nylon?", "What are the disadvantages of nylon?"),
        ("How do I enable the cache?", "How do I disable the cache?"),
        ("How is the HP M605x made?", "How is the HP M605n made?"),
        ("When was it built?", "Why was it built?"),
        ("What is a nitrogenous base?", "What is a nitrogenous base and what are examples?"),
        ("What is the meaning of my name?", "What is the meaning of your name?"),
        ("If elves fight dwarves, what can elves do?", "If elves fight dwarves, what can dwarves do?"),
        ("How many dialects are spoken in Peru?", "What dialects are spoken in Peru?"),
    ],
)
def test_what_says_something_else_never_agrees(one: str, other: str):
    assert not may_agree(taken_apart(one, None), taken_apart(other, None))
    assert not may_agree(taken_apart(other, None), taken_apart(one, None))
    assert not bundled_agreement().holds(one, other, 1.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How can I get rich online?", "How do I get rich online?"),
        ("What's the best time to study?", "What is the best time to study?"),
        ("How much is 1,000 yen?", "How much is 1000 yen?"),
    ],
)
def test_what_says_the_same_agrees_if_it_is_near(one: str, other: str):
    assert bundled_agreement().holds(one, other, 0.97)
    assert not bundled_agreement().holds(one, other, 0.5)


@given(st.text(max_size=60), st.text(max_size=60), st.floats(-1, 1))
def test_whatever_is_asked_the_order_of_two_does_not_count(one: str, other: str, cosine: float):
    rule = bundled_agreement()
    assert rule.score(one, other, cosine) == pytest.approx(rule.score(other, one, cosine))
    assert len(features(taken_apart(one, None), taken_apart(other, None), cosine)) == len(FEATURES)


@given(st.from_regex(r"[a-z ]{0,20}", fullmatch=True), st.integers(0, 10**6), st.integers(0, 10**6))
def test_other_numbers_never_agree(text: str, one: int, other: int):
    if one != other:
        assert not bundled_agreement().holds(f"what is {text} {one}", f"what is {text} {other}", 1.0)
