"""Products of bits and whole numbers, by a graph that is written by hand."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.models.sign_products import products
from ragsaver.models.token_signs import SignCosines, TokenSigns, signs_of


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


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 8), st.integers(1, 400))
def test_a_cosine_is_off_by_no_more_than_half_a_step_of_each_number(
    seed: int, tokens: int, vectors: int, dim: int
) -> None:
    dice = np.random.default_rng(seed)
    asked = dice.normal(size=(vectors, dim)).astype(np.float32)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    read = dice.normal(size=(tokens, dim))
    held = SignCosines.of(asked, [TokenSigns(signs_of(read), np.zeros((tokens, 2), dtype=np.int32), 0)])
    exact = np.where(read > 0, 1, -1) @ asked.T.astype(np.float64) / math.sqrt(dim)
    most = np.abs(asked).max(axis=1) / 254 * math.sqrt(dim)
    assert (np.abs(held.cosines(held.steps) - exact) <= most + 1e-5).all()
