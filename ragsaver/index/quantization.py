"""Smaller copies of the vectors, to search in faster and with less memory; the best are compared by the whole ones."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["int8", "binary", "product", "turbo"]


@dataclass(frozen=True, slots=True)
class Quantization:
    """How vectors are made smaller.

    int8 takes a quarter of the memory, turbo an eighth, product a sixteenth, binary a thirty-second.

    :ivar oversampling: so many times as many candidates are compared again by their whole vectors.
    """

    kind: Kind
    oversampling: float = 2.0
