"""Batches hold every text once, waste little on padding and stay within their budget."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.models.batching import ahead, batches, blocks, mask_of, pad_right, ready_batches
from ragsaver.models.devices import Budget

lengths = st.lists(st.integers(0, 300), max_size=200)
budgets = st.builds(Budget, st.integers(1, 2048), st.integers(0, 4096))


@given(lengths, budgets)
def test_every_text_is_in_one_batch(given_lengths, budget):
    positions = [position for group in batches(given_lengths, budget) for position in group]
    assert sorted(positions) == list(range(len(given_lengths)))


@given(lengths, budgets)
def test_the_budget_holds_unless_one_text_exceeds_it(given_lengths, budget):
    for group in batches(given_lengths, budget):
        padded = len(group) * max(given_lengths[position] for position in group)
        assert padded <= budget.tokens or len(group) == 1


@given(lengths, budgets)
def test_texts_are_sorted_so_that_neighbours_are_alike(given_lengths, budget):
    in_order = [given_lengths[position] for group in batches(given_lengths, budget) for position in group]
    assert in_order == sorted(in_order, reverse=True)


def cheapest(sizes, budget):
    """What the best way to cut so many texts costs, by trying all of them."""
    if not sizes:
        return 0
    longest = max(sizes[0], 1)
    fitting = [size for size in range(1, len(sizes) + 1) if size * longest <= budget.tokens or size == 1]
    return min(size * longest + budget.run_tokens + cheapest(sizes[size:], budget) for size in fitting)


@given(st.lists(st.integers(0, 40), max_size=9), st.builds(Budget, st.integers(1, 200), st.integers(0, 80)))
def test_no_other_way_to_cut_them_costs_less(given_lengths, budget):
    groups = batches(given_lengths, budget)
    longest = [max(1, *(given_lengths[position] for position in group)) for group in groups]
    cost = sum(len(group) * most + budget.run_tokens for group, most in zip(groups, longest, strict=True))
    assert cost == cheapest(sorted(given_lengths, reverse=True), budget)


def test_long_and_short_texts_are_kept_apart_where_a_run_starts_quickly():
    assert batches([250, 10, 240, 12], Budget(2048, 32)) == [[0, 2], [3, 1]]
    assert batches([250, 10, 240, 12], Budget(2048, 32_768)) == [[0, 2, 3, 1]]


def test_a_budget_below_one_is_refused():
    with pytest.raises(ValueError, match="batch_tokens must be at least 1, got 0"):
        batches([3], Budget(0, 0))


texts = st.lists(st.text("ab ", max_size=40), max_size=60)


def letters(given):
    """A tokenizer by letters."""
    return [len(text) for text in given], lambda group: [given[number] for number in group]


@given(lengths, st.integers(1, 2000))
def test_every_item_is_in_one_block_and_its_neighbours_are_alike(sizes, room):
    groups = blocks(sizes, room)
    positions = [position for group in groups for position in group]
    assert sorted(positions) == list(range(len(sizes)))
    assert [sizes[position] for position in positions] == sorted(sizes, reverse=True)
    for group in groups[:-1]:
        filled = [sizes[position] for position in group]
        assert sum(filled) >= room > sum(filled[:-1])


def test_without_a_room_all_are_in_one_block_as_they_came():
    assert blocks([1, 3, 2], None) == [[0, 1, 2]]
    assert blocks([], None) == []


@given(texts, st.sampled_from(["cpu", "cuda"]))
def test_batches_are_ready_with_their_own_texts_on_either_device(given_texts, device):
    ready = list(ready_batches(given_texts, letters, Budget(64, 8), device))
    assert sorted(position for batch in ready for position in batch.positions) == list(range(len(given_texts)))
    for batch in ready:
        own = [given_texts[position] for position in batch.positions]
        assert batch.inputs == own
        assert (batch.tokens, batch.padded) == (sum(map(len, own)), len(own) * max(map(len, own)))


def test_what_is_made_ahead_comes_in_order_from_another_thread():
    made = ((number, threading.get_ident()) for number in range(5))
    numbers, makers = zip(*ahead(made), strict=True)
    assert numbers == (0, 1, 2, 3, 4)
    assert threading.get_ident() not in makers


def test_what_breaks_ahead_comes_up_after_what_was_made_before_it():
    def broken():
        yield 1
        raise OSError("no more")

    items = ahead(broken())
    assert next(items) == 1
    with pytest.raises(OSError, match="no more"):
        next(items)


def test_nothing_is_left_running_when_the_rest_is_not_wanted():
    before = threading.active_count()
    items = ahead(iter(range(100)))
    assert next(items) == 0
    items.close()
    assert threading.active_count() == before


def test_rows_are_padded_on_the_right():
    rows = [[5, 6, 7], [], [8]]
    np.testing.assert_array_equal(pad_right(rows, 9), [[5, 6, 7], [9, 9, 9], [8, 9, 9]])
    np.testing.assert_array_equal(mask_of(rows), [[1, 1, 1], [0, 0, 0], [1, 0, 0]])
    assert pad_right([]).shape == mask_of([]).shape == (0, 0)
