"""What a model read of a text, by the token, in few bytes: of each number of a token's vector its sign alone.

A bit a number keeps the angle between two vectors (Charikar 2002, section 3), so a question's whole vectors can be held
against the signs of a passage's: 48 bytes a token where 384 half-precision numbers take 768.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragsaver.models.sign_products import products

_HEADER = np.dtype("<u4")  # characters of the text, then its tokens
_PLACE = np.dtype("<u2")
_FARTHEST = np.iinfo(_PLACE).max
_MOST_STEPS = np.iinfo(np.int8).max


@dataclass(frozen=True, eq=False)
class TokenSigns:
    """The tokens of one text.

    :ivar signs: (tokens, dim / 8) uint8, a bit for each number of a token's vector: whether it is above 0.
    :ivar spans: (tokens, 2), where each begins and ends, in characters; those that stand for no text are empty.
    :ivar characters: of the text.
    """

    signs: NDArray[np.uint8]
    spans: NDArray[np.integer]
    characters: int

    @property
    def nbytes(self) -> int:
        """Of both arrays."""
        return self.signs.nbytes + self.spans.nbytes

    def packed(self) -> bytes | None:
        """For a cache; None where the text is longer than that can say."""
        if self.characters > _FARTHEST:
            return None
        header = np.array([self.characters, len(self.signs)], dtype=_HEADER)
        return header.tobytes() + self.spans.astype(_PLACE).tobytes() + self.signs.tobytes()

    @classmethod
    def unpacked(cls, packed: bytes, dim: int) -> "TokenSigns | None":
        """What `packed` gave; None if these bytes are none of this width.

        :param dim: of the model's vectors.
        """
        if len(packed) < 2 * _HEADER.itemsize:
            return None
        characters, tokens = np.frombuffer(packed, _HEADER, 2).tolist()
        at, width = 2 * _HEADER.itemsize, bytes_of(dim)
        if len(packed) != at + tokens * (2 * _PLACE.itemsize + width):
            return None
        spans = np.frombuffer(packed, _PLACE, 2 * tokens, at).reshape(-1, 2)
        signs = np.frombuffer(packed, np.uint8, tokens * width, at + 2 * tokens * _PLACE.itemsize)
        return cls(signs.reshape(-1, width), spans, characters)

    def of_end(self, characters: int) -> "TokenSigns":
        """The same tokens, their places counted in the text's last so many characters; those in front of them, as of a
        heading, stand for no text there.
        """
        front = self.characters - characters
        if front <= 0:
            return self
        return TokenSigns(self.signs, np.maximum(self.spans, front) - front, characters)

    def of_text(self) -> "TokenSigns":
        """Those tokens that stand for text."""
        there = self.spans[:, 1] > self.spans[:, 0]
        return TokenSigns(self.signs[there], self.spans[there], self.characters)


def bytes_of(dim: int) -> int:
    """That a token takes."""
    return -(-dim // 8)


def signs_of(vectors: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(tokens, dim / 8) uint8 of vectors (tokens, dim)."""
    return np.packbits(vectors > 0, axis=1)


class SignCosines(NamedTuple):
    """Of some vectors and the signs of tokens: in steps, of which the highest, or a sum, may be told first.

    :ivar steps: (tokens, vectors) int32; in each column the more, the higher the cosine.
    :ivar step: (vectors,) float32.
    :ivar less: (vectors,) float32, what a cosine is less, in steps.
    """

    steps: NDArray[np.int32]
    step: NDArray[np.float32]
    less: NDArray[np.float32]

    @classmethod
    def of(cls, asked: NDArray[np.float32], texts: Sequence[TokenSigns]) -> "SignCosines":
        """Of the tokens of all texts, one after the other.

        :param asked: (vectors, dim) float32, rows of length 1; their numbers are rounded to 255 steps.
        """
        dim = asked.shape[1]
        signs = np.concatenate([text.signs for text in texts] or [np.zeros((0, bytes_of(dim)), dtype=np.uint8)])
        step = np.abs(asked).max(axis=1, initial=0.0) / np.float32(_MOST_STEPS)
        step[step == 0] = 1
        whole = np.rint(asked / step[:, None])
        # of signs b in 0 and 1 the vector is (2b - 1) / sqrt(dim)
        bits = np.unpackbits(signs.ravel()).reshape(-1, 8 * bytes_of(dim))  # in half the time of `axis=1`
        steps = products(bits[:, :dim], whole.astype(np.int8))
        return cls(steps, step * np.float32(2 / math.sqrt(dim)), whole.sum(axis=1) / 2)

    def cosines(self, steps: NDArray[np.int32]) -> NDArray[np.floating]:
        """(rows, vectors) of rows of `steps`."""
        return (steps - self.less) * self.step
