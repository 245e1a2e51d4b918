"""How BM25 sees a text: Qdrant's own encoder makes the sparse vectors for every engine, so that all rank alike."""

from array import array
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import qdrant_edge as qdrant

from ragsaver.errors import SettingsError
from ragsaver.sentences import small_words

_REMEMBERED, _LONG = 200_000, 40  # words, and letters of one that comes once
_NO_WORD = -1
# No word's id. An engine that counts its texts by their words would leave out one without any, which is counted where
# it looks for the texts of one tenant: what a word is worth to that one would tell whether others are there.
_SILENT = 2**32 - 1


class WordSettings(NamedTuple):
    """What shapes how BM25 sees a text."""

    language: str
    avg_words: float
    k1: float
    b: float


class Words(NamedTuple):
    """A text as BM25 sees it, for another process.

    :ivar ids: uint32, as this machine has them, in any order.
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
    """A text's ids and weights; one without words has an id that no question has.

    :param made: by another process; taken if it made them in this way.
    """
    return counted(*(made if made is not None and made.by == settings else words_of(text, settings)).lists())


def counted(ids: Sequence[int], weights: Sequence[float]) -> tuple[list[int], list[float]]:
    """A text's ids and weights, so that it counts as one though it has none."""
    return (list(ids), list(weights)) if ids else ([_SILENT], [1.0])


def words_of(text: str, settings: WordSettings) -> Words:
    """A text's words, to be sent."""
    if text.isascii():
        return _asked_once(text, settings)
    vector = word_encoder(settings).embed_document(text)
    return Words(array("I", vector.indices).tobytes(), array("f", vector.values).tobytes(), settings)


def _asked_once(text: str, settings: WordSettings) -> Words:
    """By the encoder's formula, of words that it was asked for once each: the same ids and weights in half of the time.

    Of ASCII texts only: which letters of other scripts make a word, and which are the same, the encoder alone knows.
    """
    ids = _ids_of(settings)
    if len(ids) > _REMEMBERED:
        ids.clear()
    counts = Counter(map(ids.__getitem__, small_words(text)))
    del counts[_NO_WORD]
    _, average, k1, b = settings
    most, half = k1 + 1, k1 * (1 - b + b * counts.total() / average)
    weights = [most * often / (often + half) for often in counts.values()]
    return Words(array("I", counts).tobytes(), array("f", weights).tobytes(), settings)


class _Ids(dict[str, int]):
    """Ids of words; `_NO_WORD` for those that mean nothing."""

    def __init__(self, encoder: qdrant.Bm25) -> None:
        super().__init__()
        self._encoder = encoder

    def __missing__(self, word: str) -> int:
        ids = self._encoder.embed_document(word).indices
        found = ids[0] if ids else _NO_WORD
        if len(word) <= _LONG:
            self[word] = found
        return found


@lru_cache(maxsize=8)
def _ids_of(settings: WordSettings) -> _Ids:
    return _Ids(word_encoder(settings))
