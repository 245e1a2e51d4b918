"""What the rest of RAGSaver asks of an embedding model."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Encoder(Protocol):
    """Texts to vectors. The fingerprint changes whenever a document's vector would."""

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
        """Hex digest of weights, tokenizer, pooling, prefix, cut-off, precision and back end."""
        ...

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None, *, query: bool = False
    ) -> NDArray[np.float32]:
        """(len(texts), dim) float32, L2-normalised, in the order given.

        :param progress: called with the number of texts finished by each batch.
        :param query: the texts are questions, not documents: models with prefixes tell them apart.
        """
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text by this model's tokenizer, without special tokens and without a cut."""
        ...
