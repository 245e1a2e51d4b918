"""Vectors whose numbers are whole steps already, so that holding signs against them rounds nothing."""

import numpy as np
from numpy.typing import NDArray


def in_steps(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(rows, dim), each row as near as its 255 steps allow."""
    step = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0) / 127
    step[step == 0] = 1
    return (np.rint(vectors / step) * step).astype(np.float32)
