"""How BM25 sees a text: Qdrant's own encoder makes the sparse vectors for every engine, so that all rank alike."""

import qdrant_edge as qdrant

from ragsaver.errors import SettingsError
from ragsaver.index.identity import IndexIdentity


def word_encoder(identity: IndexIdentity) -> qdrant.Bm25:
    """The encoder of an index.

    :raises SettingsError: if its language is not known.
    """
    try:
        config = qdrant.Bm25Config(
            language=identity.language, avg_len=identity.bm25_avg_words, k=identity.bm25_k1, b=identity.bm25_b
        )
        return qdrant.Bm25(config)
    except ValueError as error:
        raise SettingsError(f"`index.language` is not known: {error}", where="settings") from error
