"""Products of bits and whole numbers, by a graph that is written by hand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.models.sign_products import products


@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(0, 20), st.integers(1, 400))
def test_they_are_what_numpy_says(seed: int, rows: int, vectors: int, dim: int) -> None:
    dice = np.random.default_rng(seed)
    bits = dice.integers(0, 2, (rows, dim), dtype=np.uint8)
    whole = dice.integers(-127, 128, (vectors, dim), dtype=np.int8)
    found = products(bits, whole)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, bits.astype(np.int32) @ whole.astype(np.int32).T)


def test_the_largest_sums_overflow_nothing() -> None:
    # a processor without whole-number dot products adds pairs in 16 bits: of bits, unlike of bytes, they fit
    bits, whole = np.ones((5, 4096), dtype=np.uint8), np.full((3, 4096), 127, dtype=np.int8)
    np.testing.assert_array_equal(products(bits, whole), np.full((5, 3), 4096 * 127))
