"""How BM25 sees a text: Qdrant's own encoder makes the sparse vectors for every engine, so that all rank alike."""

from array import array
from functools import lru_cache
from typing import NamedTuple

import qdrant_edge as qdrant

from ragsaver.errors import SettingsError


class WordSettings(NamedTuple):
    """What shapes how BM25 sees a text."""

    language: str
    avg_words: float
    k1: float
    b: float


class Words(NamedTuple):
    """A text as BM25 sees it, for another process.

    :ivar ids: uint32, as this machine has them.
    :ivar weights: float32.
    :ivar by: how it was made.
    """

    ids: bytes
    weights: bytes
    by: WordSettings

    def lists(self) -> tuple[list[int], list[float]]:
        """Ids and weights."""
        weights: list[float] = list(memoryview(self.weights).cast("f"))
        return memoryview(self.ids).cast("I").tolist(), weights


# That the encoder stems; it does not tell them itself.
LANGUAGES = (
    *("arabic", "azerbaijani", "basque", "bengali", "catalan", "chinese", "danish", "dutch", "english", "finnish"),
    *("french", "german", "greek", "hebrew", "hinglish", "hungarian", "indonesian", "italian", "japanese", "kazakh"),
    *("nepali", "norwegian", "portuguese", "romanian", "russian", "slovene", "spanish", "swedish", "tajik", "turkish"),
)


# Processes that only cut documents make words too: what they need is loaded in two milliseconds.
@lru_cache(maxsize=8)
def word_encoder(settings: WordSettings) -> qdrant.Bm25:
    """The encoder.

    :raises SettingsError: if its language is not known.
    """
    try:
        config = qdrant.Bm25Config(language=settings.language, avg_len=settings.avg_words, k=settings.k1, b=settings.b)
        return qdrant.Bm25(config)
    except ValueError as error:
        raise SettingsError(
            f"no texts in the language `{settings.language}` can be read by their words: {error}",
            where="index.language",
            remedy=f"Take one of these, the nearest if yours is not there: {', '.join(LANGUAGES)}",
        ) from error


def word_lists(text: str, made: Words | None, settings: WordSettings) -> tuple[list[int], list[float]]:
    """A text's ids and weights.

    :param made: by another process; taken if it made them in this way.
    """
    return (made if made is not None and made.by == settings else words_of(text, settings)).lists()


def words_of(text: str, settings: WordSettings) -> Words:
    """A text's words, to be sent."""
    vector = word_encoder(settings).embed_document(text)
    return Words(array("I", vector.indices).tobytes(), array("f", vector.values).tobytes(), settings)
