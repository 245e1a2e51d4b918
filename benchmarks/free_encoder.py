"""What would embedding have cost? Encoders that cost nothing; one counts what a real one would have been given."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray


class FreeEncoder:
    """Vectors from a digest.

    :param dim: a multiple of 16.
    """

    name, fingerprint = "free", "f" * 32

    def __init__(self, dim: int = 16) -> None:
        self.dim = dim

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None, *, query: bool = False
    ) -> NDArray[np.float32]:
        """(n, dim) float32, L2-normalised."""
        digests = b"".join(xxhash.xxh3_128_digest(text.encode()) * (self.dim // 16) for text in texts)
        vectors = np.frombuffer(digests, dtype=np.uint8).reshape(-1, self.dim).astype(np.float32) - 127
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def count_tokens(self, texts: Iterable[str]) -> list[int]:
        """Five characters each, for want of a tokenizer: counting should be free too."""
        return [len(text) // 5 + 1 for text in texts]


class CountingEncoder(FreeEncoder):
    """`texts` and `words` (between white space) say what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.texts = 0
        self.words = 0

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None, *, query: bool = False
    ) -> NDArray[np.float32]:
        """(n, dim) float32, L2-normalised."""
        self.texts += len(texts)
        self.words += sum(len(text.split()) for text in texts)
        return super().encode(texts, progress, query=query)
