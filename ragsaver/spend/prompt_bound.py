"""How many tokens may an endpoint count in a prompt? At most so many, whatever its tokenizer.

The shipped tokenizer counts words and pieces of them. Others have other pieces, so a margin is added, and what the
shipped one sees as nothing or as one unknown thing counts by its bytes: no tokenizer makes more tokens than that.
"""

import math
import re
from collections.abc import Sequence

# Roles and separators of a chat template.
AROUND_A_MESSAGE = 12
_LONG_WORD = 32
# Several blanks, or one that is no space: said so that the search for where one begins is quick.
_BLANKS = re.compile(r"\s(?:\s+|(?<! ))")


def prompt_bound(texts: Sequence[str], counts: Sequence[int], margin: float) -> int:
    """Tokens that a prompt has at most.

    :param counts: of the texts, by the shipped tokenizer.
    :param margin: share by which others count more.
    """
    return sum(
        min(math.ceil(count * (1 + margin)) + _unseen(text), len(text.encode(errors="replace"))) + AROUND_A_MESSAGE
        for text, count in zip(texts, counts, strict=True)
    )


def _unseen(text: str) -> int:
    foreign = 0 if text.isascii() else len(text.encode(errors="replace")) - len(text)
    long_words = sum(length for length in map(len, text.split()) if length >= _LONG_WORD)
    blanks = sum(map(len, _BLANKS.findall(text)))
    return 2 * foreign + long_words + blanks
