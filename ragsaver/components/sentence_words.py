"""How well do a sentence's words match the question's? BM25 over the sentences of all candidates."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ragsaver.components.passage_sentences import Sentences

Number = TypeVar("Number", bound=np.generic)

# BM25 for short texts: little weight on length and on repetition. docs/benchmarks.md has the measurements.
K1, B = 0.9, 0.4


def word_counts(stems: Sequence[str], passages: Sequence[Sentences]) -> NDArray[np.float64]:
    """(sentences of all passages, stems): how often each sentence has each of the question's stems."""
    found: list[int] = []
    width, sentences = len(stems), 0
    for one in passages:
        places = one.places
        for column, stem in enumerate(stems):
            if there := places.get(stem):
                found += [(sentences + place) * width + column for place in there]
        sentences += len(one)
    counts = np.bincount(np.array(found, dtype=np.intp), minlength=sentences * width)
    return counts.reshape(sentences, width).astype(np.float64)


def rarity(has: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What each stem of the question is worth: the fewer of the texts have it, the more.

    :param has: (texts, stems), whether each text has each.
    """
    found_in = has.sum(axis=0)
    return np.asarray(np.log1p((len(has) - found_in + 0.5) / (found_in + 0.5)), dtype=np.float64)


def word_scores(
    weights: NDArray[np.float64], counts: NDArray[np.float64], lengths: NDArray[np.integer]
) -> NDArray[np.float64]:
    """The BM25 score of each sentence, scaled to at most 1.

    :param weights: of the question's stems, as `rarity` gives them.
    :param counts: as `word_counts` gives them.
    :param lengths: of the sentences, in words.
    """
    if not counts.size:
        return np.zeros(len(counts))
    norm = K1 * (1 - B + B * lengths / (lengths.mean() or 1.0))
    raw = (counts * (K1 + 1) / (counts + norm[:, None])) @ weights
    return raw / (raw.max() or 1.0)


def best_of_each(rows: NDArray[Number], sizes: NDArray[np.intp]) -> NDArray[Number]:
    """The highest of each passage's rows, column by column; 0 for one without any.

    :param rows: passage behind passage.
    :param sizes: of the passages.
    """
    found = np.zeros((len(sizes), *rows.shape[1:]), dtype=rows.dtype)
    if len(there := np.flatnonzero(sizes)):
        found[there] = np.maximum.reduceat(rows, (np.cumsum(sizes) - sizes)[there], axis=0)
    return found
