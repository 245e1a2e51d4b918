"""Only answers that are short by their question's form are bounded, and never below what a cited sentence takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.answer_length import FEWEST_TOKENS, answer_length, most_tokens


@pytest.mark.parametrize(
    ("question", "length"),
    [
        ("Is the permit free?", "yes_or_no"), ("Can minors apply?", "yes_or_no"),
        ("When was the tower built?", "fact"), ("How tall is it?", "fact"), ("Who issues the permit?", "fact"),
        ("In which city is it?", "fact"), ("What is the population of France?", "fact"),
        ("Why was it built?", "any"), ("How do I renew a passport?", "any"), ("What are the opening hours?", "any"),
        ("Which countries need a visa?", "any"), ("Who were its keepers?", "any"), ("List the keepers.", "any"),
        ("Is it free, and how do I apply?", "any"), ("When was it lit? And who paid?", "any"), ("Tell me more.", "any"),
        ("What is a permit?", "any"), ("Explain when to apply.", "any"), ("", "any"),
        ("Is this right?\n```\ncode\n```", "any"), ("Wann wurde er gebaut?", "any"),
    ],
)  # fmt: skip
def test_the_form_of_a_question_says_how_long_its_answer_is(question: str, length: str):
    assert answer_length(question) == length


@given(st.text(max_size=60), st.integers(1, 5000))
def test_the_bound_is_never_above_the_models_and_never_too_small(question: str, limit: int):
    most = most_tokens(question, limit)
    assert min(limit, FEWEST_TOKENS) <= most <= limit and most >= limit // 2
