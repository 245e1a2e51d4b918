"""Don't pay for the same words twice in one context: copies, mirrors and re-posted sections go."""

from collections.abc import Sequence
from functools import lru_cache

from haystack import Document, component

from ragsaver.components.passages import Passages
from ragsaver.components.request import stage
from ragsaver.spend.receipt import current_receipt

SHINGLE_WORDS = 4


@lru_cache(maxsize=16_384)
def shingles(text: str) -> frozenset[int]:
    """Hashes of every run of four words, case and spacing aside (Broder 1997, w-shingling)."""
    words = text.lower().split()
    if len(words) < SHINGLE_WORDS:
        return frozenset((hash(tuple(words)),)) if words else frozenset()
    return frozenset(hash(tuple(words[n : n + SHINGLE_WORDS])) for n in range(len(words) - SHINGLE_WORDS + 1))


def drop_near_duplicates(
    texts: Sequence[str], *, resembles_at_least: float, contained_at_least: float
) -> list[tuple[int, int | None]]:
    """Say for each text which earlier one it repeats, None if it is new.

    At most some hundred texts meet here, so the comparison is exact: MinHash would only approximate it.

    :param texts: best first; the first of several copies stays.
    :param resembles_at_least: Jaccard similarity of the shingles from which two texts are the same, 0 to 1.
    :param contained_at_least: share of a text's shingles found in a better one from which it adds nothing.
    :returns: (position, position of the text it repeats or None) for each text.
    """
    kept: list[tuple[int, frozenset[int]]] = []
    verdicts: list[tuple[int, int | None]] = []
    for position, text in enumerate(texts):
        mine = shingles(text)
        twin = next(
            (earlier for earlier, theirs in kept if _repeats(mine, theirs, resembles_at_least, contained_at_least)),
            None,
        )
        verdicts.append((position, twin))
        if twin is None:
            kept.append((position, mine))
    return verdicts


def _repeats(mine: frozenset[int], theirs: frozenset[int], resembles: float, contained: float) -> bool:
    common = len(mine & theirs)
    if not common:
        return not mine
    return common / len(mine | theirs) >= resembles or common / len(mine) >= contained


@component
class NearDuplicateFilter:
    """Keep the best of passages that say the same, across documents.

    ```python
    NearDuplicateFilter().run([Document(content="a b c d e"), Document(content="A b c  d e")])
    ```

    :param resembles_at_least: Jaccard similarity of word shingles from which two passages are the same.
    :param contained_at_least: share of a passage found in a better one from which it is dropped.
    :raises ValueError: if a share is not within 0 to 1.
    """

    def __init__(self, resembles_at_least: float = 0.8, contained_at_least: float = 0.9) -> None:
        for name, share in (
            ("resembles_at_least", resembles_at_least),
            ("contained_at_least", contained_at_least),
        ):
            if not 0.0 < share <= 1.0:
                raise ValueError(f"{name} must be above 0 and at most 1, got {share}")
        self.resembles_at_least = resembles_at_least
        self.contained_at_least = contained_at_least

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Passages]:
        """The passages without the copies, in the order given.

        :param documents: passages, best first.
        """
        with stage("deduplicate"):
            verdicts = drop_near_duplicates(
                [document.content or "" for document in documents],
                resembles_at_least=self.resembles_at_least,
                contained_at_least=self.contained_at_least,
            )
            kept = Passages(documents[position] for position, twin in verdicts if twin is None)
        dropped = len(documents) - len(kept)
        if dropped:
            current_receipt().add(
                "deduplicate",
                "near-duplicates dropped",
                dropped,
                "passages",
                reason="the same words are there once",
            )
        return {"documents": kept}
