"""What an answer says that claims nothing: numbers that count its own steps, and polite phrases."""

import re
from collections.abc import Iterator

from ragsaver.sentences import split

# `**2.** Pay`, `Step 2: Pay`, `### 2) Pay`
_STEP = re.compile(
    r"[\s>*_#•-]*(?:(?:step|part|option|schritt|teil|étape|paso|passo|stap)\s+\d{1,2}(?=\W|\Z)"
    r"|(?<=# )\d{1,2}(?=[.):](?!\d))|\d{1,2}(?=[.):*_]{1,4}\s{0,4}[*_]{0,2}[^\W\d]))",
    re.IGNORECASE,
)
_LINE = re.compile(rf"\n(?=[>*_#•|-]|{_STEP.pattern})", re.IGNORECASE)
# Of the asker and of the model itself.
_POLITE = re.compile(
    r"\W*(?:let me know|feel free|please (?:let me know|feel free)|(?:please )?(?:don['’]t|do not) hesitate"
    r"|(?:i )?hope th(?:is|at|ese)|is there anything else|would you like (?:me|more)|(?:i['’]m|i am) happy to"
    r"|if you (?:have|need|want|would like|['’]d like)\b.*\b(?:let me know|ask|help|reach out)"
    r"|you['’]re welcome|thank you|thanks)\b",
    re.IGNORECASE | re.DOTALL,
)


def sentences_of(answer: str) -> Iterator[str]:
    """The answer's sentences, without what only counts them."""
    for sentence in split(answer):
        for line in _LINE.split(sentence):
            step = _STEP.match(line)
            yield line[step.end() :] if step else line


def is_polite(sentence: str) -> bool:
    """Whether it is a phrase whose words need not stand in any passage; names and numbers in it do."""
    return _POLITE.match(sentence) is not None
