"""What a document says of itself, whoever made it: components of others leave out what RAGSaver's own always give."""

import math
from typing import TYPE_CHECKING

from ragsaver.index.keys import PAGE_STARTS
from ragsaver.models.rerankers.maxsim import PassageText

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


def text_of(document: "Document") -> PassageText:
    """Its text, for who reads it by the token; where that was done when it was embedded, it is found by its name."""
    name, heading, title = (said_of(document, one) for one in ("chunk_hash", "heading", "title"))
    return PassageText(document.content or "", name, heading, title)


def page_of(document: "Document") -> int | None:
    """The page, or slide, on which it begins; None where its source has none."""
    return as_page(document.meta.get("page"))


def as_page(said: object) -> int | None:
    """A page's number; None if it is none."""
    return said if isinstance(said, int) and not isinstance(said, bool) else None


def page_at(document: "Document", offset: int) -> int | None:
    """The page of a place in the text that a retriever gave.

    :param offset: of that place, in characters.
    """
    begun = [page for start, page in document.meta.get(PAGE_STARTS) or () if start <= offset]
    return as_page(begun[-1]) if begun else page_of(document)
