"""What a document says of itself, whoever made it: components of others leave out what RAGSaver's own always give."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from haystack import Document


def score_of(document: "Document") -> float:
    """Its score; 0 where it has none, or one that can't be compared: NaN is what some make of a vector of zeros."""
    score = float(document.score or 0.0)
    return score if math.isfinite(score) else 0.0


def said_of(document: "Document", name: str) -> str:
    """What its meta has under a name; nothing where that is None."""
    said = document.meta.get(name)
    return "" if said is None else str(said)
