"""Texts are embedded once, and what the same run of the model read of their tokens is kept beside their vectors."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ragsaver.caching.embeddings import EmbeddingCache, rounded
from ragsaver.models.protocol import Encoder
from ragsaver.models.rerankers.maxsim import TokenEncoder


class Fresh:
    """What was embedded just now, for the cache.

    :ivar vectors: by text's name, (dim,) float32 each, as the cache keeps them.
    """

    def __init__(self, vectors: Mapping[str, NDArray[np.float32]], tokens: Mapping[str, bytes]) -> None:
        self.vectors = vectors
        self._tokens = tokens

    def keep(
        self, cache: EmbeddingCache, partition: str, beside: Mapping[str, NDArray[np.float32]] | None = None
    ) -> None:
        """Give it to the cache.

        :param beside: vectors that were found elsewhere.
        """
        # in this order: a text whose vector is there is not read again
        cache.put_tokens(partition, self._tokens)
        cache.put(partition, {**(beside or {}), **self.vectors})


def embedded(encoder: Encoder, cache: EmbeddingCache, texts: Mapping[str, str]) -> Fresh:
    """Run the model.

    :param cache: whether it keeps tokens is asked before they are read.
    :param texts: by what they are named in the cache.
    """
    every = list(texts.values())
    if not (every and cache.keeps_tokens and isinstance(encoder, TokenEncoder) and encoder.gives_tokens):
        return Fresh(dict(zip(texts, rounded(encoder.encode(every)), strict=True)), {})
    vectors, read = encoder.read(every)
    packed = {name: some for name, one in zip(texts, read, strict=True) if (some := one.packed()) is not None}
    return Fresh(dict(zip(texts, rounded(vectors), strict=True)), packed)
