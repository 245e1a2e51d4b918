"""What the rest of RAGSaver asks of an embedding model."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Encoder(Protocol):
    """Texts to vectors. The fingerprint changes whenever the vectors would."""

    @property
    def name(self) -> str:
        """What a person calls the model."""
        ...

    @property
    def dim(self) -> int:
        """Width of a vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hex digest of weights, tokenizer, pooling, prefix and cut-off."""
        ...

    def encode(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """(len(texts), dim) float32, L2-normalised, in the order given.

        :param progress: called with the number of texts finished by each batch.
        """
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text by this model's tokenizer, without special tokens and without a cut."""
        ...
