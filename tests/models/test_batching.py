"""Batches hold every text once, waste little on padding and stay within their budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.models.batching import batches

lengths = st.lists(st.integers(0, 300), max_size=200)
budgets = st.integers(1, 2048)


@given(lengths, budgets)
def test_every_text_is_in_one_batch(given_lengths, budget):
    positions = [position for group in batches(given_lengths, budget) for position in group]
    assert sorted(positions) == list(range(len(given_lengths)))


@given(lengths, budgets)
def test_the_budget_holds_unless_one_text_exceeds_it(given_lengths, budget):
    for group in batches(given_lengths, budget):
        padded = len(group) * max(given_lengths[position] for position in group)
        assert padded <= budget or len(group) == 1


@given(lengths, budgets)
def test_texts_are_sorted_so_that_neighbours_are_alike(given_lengths, budget):
    in_order = [given_lengths[position] for group in batches(given_lengths, budget) for position in group]
    assert in_order == sorted(in_order, reverse=True)


@given(lengths, st.integers(301, 2048))
def test_a_batch_is_closed_only_when_the_next_text_does_not_fit(given_lengths, budget):
    for group in batches(given_lengths, budget)[:-1]:
        longest = max(given_lengths[position] for position in group)
        assert (len(group) + 1) * max(longest, 1) > budget


def test_a_budget_below_one_is_refused():
    with pytest.raises(ValueError, match="batch_tokens must be at least 1, got 0"):
        batches([3], 0)
