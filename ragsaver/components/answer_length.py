"""How long can the answer to a question be? Told by its shape, to bound what a call may cost at worst.

Only questions whose answer is short by their form are bounded, and to half of the model's limit: an answer that is cut
costs more than it saves. English question words only.
"""

import re
from typing import Literal

from ragsaver.components.answer_kind import asked

Length = Literal["yes_or_no", "fact", "any"]

FEWEST_TOKENS = 192  # a fact in a sentence or two, cited, takes less than half of it

_LONG = re.compile(
    r"\b(?:why|how do|how does|how did|how can|how to|explain|describe|compare|summari[sz]e|list|name all|which ones"
    r"|steps|difference|differ|versus|pros|cons|overview|detail|details|example|examples|write|show|translate|and|or)\b"
    r"|[\n;:`]",
    re.IGNORECASE,
)
_PLURAL = re.compile(
    r"^\W*(?:what|which|who) (?:\w+ )?(?:are|were)\b|\b(?:what|which) (?!is\b|was\b|does\b|has\b)\w+s\b", re.IGNORECASE
)
_CLOSED = re.compile(
    r"^\W*(?:is|are|was|were|do|does|did|can|could|may|must|has|have|had|will|would|should)\b[^?]*\?\W*$", re.IGNORECASE
)
_LONGEST = 20  # words of a question that asks for one thing


def answer_length(question: str) -> Length:
    """What the form of a question says about its answer; `any` where it says nothing."""
    if _LONG.search(question) or question.count("?") > 1 or len(question.split()) > _LONGEST:
        return "any"
    if _CLOSED.search(question):
        return "yes_or_no"
    if _PLURAL.search(question):
        return "any"
    return "fact" if asked(question).kind in ("date", "number", "name", "place") else "any"


def most_tokens(question: str, limit: int) -> int:
    """Tokens that an answer may have.

    :param limit: the model's own.
    """
    return limit if answer_length(question) == "any" else min(limit, max(limit // 2, FEWEST_TOKENS))
