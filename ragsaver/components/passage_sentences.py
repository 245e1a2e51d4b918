"""The sentences of a passage, with what packing and the reranker's gate ask of them again and again.

That is remembered by text, because the same chunks come again and again; each tenant has its own, so that nobody is
served sooner for what another one has.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragsaver.sentences import FENCES, LISTED, content_stems, split

REMEMBERED = 8192  # passages


class Sentence(NamedTuple):
    """A verbatim slice of a passage from `start` on."""

    text: str
    start: int


class Sentences(tuple[Sentence, ...]):
    """Those of a passage.

    :ivar places: for each stem of their content words, the positions of the sentences that have it, each as often as it
        stands there.
    :ivar shapes: (sentences, 3) int32: its content words, whether it is a list item or table row, and whether it begins
        a block of code.
    :ivar tokens: of each, by the name of who counted them.
    """

    places: Mapping[str, Sequence[int]]
    shapes: NDArray[np.int32]
    tokens: dict[str, Sequence[int]]

    @classmethod
    def of(cls, text: str) -> "Sentences":
        """Those of a text."""
        cut: list[Sentence] = []
        shapes: list[tuple[int, bool, bool]] = []
        places: dict[str, tuple[int, ...]] = {}
        start = 0
        for place, piece in enumerate(split(text)):
            start = text.index(piece, start)
            cut.append(Sentence(piece, start))
            start += len(piece)
            stems, here = content_stems(piece), (place,)  # one for all of its stems: thousands of passages are kept
            for one in stems:
                places[one] = places[one] + here if one in places else here
            shapes.append((len(stems), bool(LISTED.match(piece)), piece.startswith(FENCES)))
        found = cls(cut)
        found.places, found.tokens = places, {}
        found.shapes = np.array(shapes, dtype=np.int32).reshape(-1, 3)
        return found


@lru_cache(maxsize=REMEMBERED)
def sentences(text: str, tenant: str) -> Sentences:
    """The sentences of a passage, with their stems.

    :param tenant: whose passage it is.
    """
    return Sentences.of(text)
