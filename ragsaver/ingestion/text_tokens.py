"""For which document was a text embedded, and what of a document had been embedded before? By its tokens."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ragsaver.ingestion.planning import Change


@dataclass(frozen=True, slots=True)
class TextTokens:
    """Tokens of a document's new texts, each counted once, and of those that were embedded for it now."""

    total: int
    embedded: int


# Told of documents by the manifest's ids.
TokensTold = Callable[[Mapping[str, TextTokens]], None]


def by_document(batch: Sequence[Change], counts: Mapping[str, int], embedded: Collection[str]) -> dict[str, TextTokens]:
    """What the texts of a batch took; one that several documents share was embedded for the first of them.

    :param counts: tokens of each text, by what is embedded.
    :param embedded: the texts that were not there.
    """
    left = set(embedded)
    took: dict[str, TextTokens] = {}
    for change in batch:
        texts = {one.prints.embedded for one in change.new}
        mine = texts & left
        left -= mine
        took[change.record.id] = TextTokens(sum(counts[one] for one in texts), sum(counts[one] for one in mine))
    return took
