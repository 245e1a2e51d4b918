"""Boundaries: full parts, few cuts moved by an edit, and the same for pieces that are all alike."""

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from ragsaver.ingestion.boundaries import cuts, parts

MIN_WORDS, MAX_WORDS = 40, 300

# A few rows, each many times: next to nothing but one row, one or two in turn, or a few by chance.
few = st.integers(1, 6).flatmap(
    lambda kinds: st.tuples(
        st.just(kinds), st.integers(0, 2**32), st.sampled_from([0.0, 0.01, 0.1, 1.0]), st.integers(200, 600)
    )
)


def rows_of(kinds: int, seed: int, mixed: float, count: int) -> list[str]:
    """Rows of five words of so many kinds; all but the share `mixed` are of the first kind."""
    chance = random.Random(seed)
    return [
        f"| host{chance.randrange(kinds) if chance.random() < mixed else 0} | is {seed % 97} ok" for _ in range(count)
    ]


def parts_of(rows: list[str]) -> list[str]:
    words = [len(row.split()) for row in rows]
    return ["\n".join(rows[start:end]) for start, end in parts(rows, words, MIN_WORDS, MAX_WORDS)]


@given(few)
def test_rows_of_few_kinds_make_parts_that_hold_all_and_keep_the_maximum(few):
    rows = rows_of(*few)
    found = parts_of(rows)
    assert "\n".join(found) == "\n".join(rows)
    assert all(len(part.split()) <= MAX_WORDS for part in found)


@given(st.integers(1, 3_000), st.integers(1, 5))
def test_rows_that_are_all_alike_make_parts_that_keep_the_minimum(count: int, words: int):
    found = [len(part.split()) for part in parts_of(["ok " * words] * count)]
    assert min(found) >= min(MIN_WORDS / 2, count * words)
    assert min(found[1:-1], default=MIN_WORDS) >= MIN_WORDS
    assert max(found) <= MAX_WORDS


@given(few, st.integers(0, 600), st.sampled_from(["more of the same", "new", "less", "other"]))
def test_an_edit_among_rows_of_few_kinds_makes_few_new_parts(few, at: int, edit: str):
    rows = rows_of(*few)
    at %= len(rows)
    kept = rows[at + 1 :] if edit in ("less", "other") else rows[at:]
    added = {"more of the same": [rows[0]], "less": []}.get(edit, ["| another | one is here |"])
    after = parts_of([*rows[:at], *added, *kept])
    assert len(set(after) - set(parts_of(rows))) <= 6


def test_fifty_thousand_equal_rows_make_parts_of_the_largest_size():
    found = parts_of(["alpha ok"] * 50_000)
    assert len(found) < 50_000 * 2 / MAX_WORDS + 5


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 80), st.randoms())
def test_no_two_cuts_are_nearer_than_the_minimum_and_none_depends_on_what_is_far_away(words, min_words, random):
    ranks = [(random.getrandbits(64), 0) for _ in words]
    ends = list(itertools.accumulate(words))
    made = list(cuts(ends, ranks, min_words))
    places = [ends[n] for n in made]
    assert all(later - earlier >= min_words for earlier, later in itertools.pairwise(places))
    # what is put before the document's first words only matters within reach of it
    shift = 3 * min_words
    longer = list(cuts([shift, *(end + shift for end in ends)], [(-1, 0), *ranks], min_words))
    assert {n - 1 for n in longer if n} >= set(made)
