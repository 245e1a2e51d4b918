"""Don't pay for the same words twice in one context: copies, mirrors and re-posted sections go."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import Any

from haystack import Document, component

from ragsaver.components.document_values import page_of, said_of
from ragsaver.components.explain import current_explanation
from ragsaver.components.passages import Passages
from ragsaver.components.request import current_tenant, stage
from ragsaver.spend.receipt import current_receipt

SHINGLE_WORDS = 4
RESEMBLES, CONTAINED = 0.8, 0.9


@lru_cache(maxsize=16_384)
def shingles(text: str, tenant: str) -> frozenset[int]:
    """Hashes of every run of four words, case and spacing aside (Broder 1997, w-shingling).

    :param tenant: whose text it is: what is remembered of it serves no other.
    """
    words = text.lower().split()
    if len(words) < SHINGLE_WORDS:
        return frozenset((hash(tuple(words)),)) if words else frozenset()
    return frozenset(map(hash, zip(*(words[start:] for start in range(SHINGLE_WORDS)), strict=False)))


class Shelf:
    """Texts that say something new. At most some hundred meet here, so the comparison is exact: MinHash would only
    approximate it, and to count what a text has in common with all the others together is as fast.

    :param resembles_at_least: Jaccard similarity of the shingles from which two texts are the same, 0 to 1.
    :param contained_at_least: share of a text's shingles found in an earlier one from which it adds nothing.
    :param tenant: whose texts these are.
    """

    def __init__(self, resembles_at_least: float, contained_at_least: float, tenant: str) -> None:
        self._tenant = tenant
        self._resembles = resembles_at_least
        self._contained = contained_at_least
        self._differs = 1 - min(resembles_at_least, contained_at_least)
        self._kept: list[frozenset[int]] = []
        self._seen: set[int] = set()

    def put(self, text: str) -> int | None:
        """Keep a text, unless it repeats one that was kept: then which, counted from 0."""
        mine = shingles(text, self._tenant)
        twin = self._twin(mine)
        if twin is None:
            self._seen.update(mine)
            self._kept.append(mine)
        return twin

    def _twin(self, mine: frozenset[int]) -> int | None:
        """The best that this one repeats."""
        if not mine:
            return 0 if self._kept else None
        # a text that repeats another lacks so many of its shingles at most, and has the others of any that are tried
        lacking = int(self._differs * len(mine)) + 1
        tried = list(islice(mine, 2 * lacking + 2))
        shared = self._seen.intersection(tried)
        if len(shared) < max(len(tried) - lacking, 1):
            return None
        some = (place for place, one in enumerate(self._kept) if not one.isdisjoint(shared))
        return next((place for place in some if self._repeats(mine, self._kept[place])), None)

    def _repeats(self, mine: frozenset[int], theirs: frozenset[int]) -> bool:
        common = len(mine & theirs)
        union = len(mine) + len(theirs) - common
        return common >= self._resembles * union or common >= self._contained * len(mine)


def drop_near_duplicates(
    texts: Sequence[str], *, resembles_at_least: float, contained_at_least: float, tenant: str = ""
) -> list[tuple[int, int | None]]:
    """Say for each text which earlier one it repeats, None if it is new.

    :param texts: best first; the first of several copies stays.
    :param tenant: as for `Shelf`.
    :returns: (position, position of the text it repeats or None) for each text.
    """
    shelf = Shelf(resembles_at_least, contained_at_least, tenant)
    kept: list[int] = []
    verdicts: list[tuple[int, int | None]] = []
    for position, text in enumerate(texts):
        twin = shelf.put(text)
        if twin is None:
            kept.append(position)
        verdicts.append((position, None if twin is None else kept[twin]))
    return verdicts


class Folded:
    """Passages that say something new, each with the other places where it is said: `meta["also_in"]`.

    :param resembles_at_least: as for `Shelf`.
    :param contained_at_least: as for `Shelf`.
    :param tenant: as for `Shelf`.
    :ivar dropped: passages that said nothing new.
    """

    def __init__(
        self, resembles_at_least: float = RESEMBLES, contained_at_least: float = CONTAINED, *, tenant: str = ""
    ) -> None:
        self._shelf = Shelf(resembles_at_least, contained_at_least, tenant)
        self._kept: list[Document] = []
        self._also: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, document: Document) -> Document | None:
        """Keep a passage, or note its place beside the one that it repeats: that is given back."""
        twin = self._shelf.put(document.content or "")
        if twin is None:
            self._kept.append(document)
            return None
        self.dropped += 1
        place = {name: said_of(document, name) for name in ("source", "heading")} | {"page": page_of(document)}
        self._also[twin] += [place, *document.meta.get("also_in", ())]
        return self._kept[twin]

    def passages(self) -> Passages:
        """What was kept, in the order given; the receipt says how many were dropped."""
        if self.dropped:
            current_receipt().add(
                "deduplicate",
                "near-duplicates dropped",
                self.dropped,
                "passages",
                reason="the same words are there once",
            )
        return Passages(
            replace(one, meta={**one.meta, "also_in": [*one.meta.get("also_in", ()), *self._also[number]]})
            if number in self._also
            else one
            for number, one in enumerate(self._kept)
        )


@component
class NearDuplicateFilter:
    """Keep the best of passages that say the same, across documents; `meta["also_in"]` lists the others' places.

    `HybridRetriever` does this by itself, before it counts its passages. This is for what comes from elsewhere.

    ```python
    NearDuplicateFilter().run([Document(content="a b c d e"), Document(content="A b c  d e")])
    ```

    :param resembles_at_least: Jaccard similarity of word shingles from which two passages are the same.
    :param contained_at_least: share of a passage found in a better one from which it is dropped.
    :raises ValueError: if a share is not within 0 to 1.
    """

    def __init__(self, resembles_at_least: float = RESEMBLES, contained_at_least: float = CONTAINED) -> None:
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
        explanation = current_explanation()
        if explanation:
            explanation.order(documents)
        with stage("deduplicate"):
            folded = Folded(self.resembles_at_least, self.contained_at_least, tenant=current_tenant())
            for document in documents:
                twin = folded.put(document)
                if twin and explanation:
                    explanation.leave_out(document.id, same_as(twin))
            passages = folded.passages()
        if explanation:
            explanation.order(passages)
        return {"documents": passages}


def same_as(twin: Document) -> str:
    """Why a passage is left out that repeats another one."""
    return f"says the same as {twin.meta.get('source')}"
