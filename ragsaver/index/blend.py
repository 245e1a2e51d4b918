"""How is an engine to make one order of both legs by itself? Then it answers with that alone, in one call.

What the legs thought of a passage is not known afterwards, so this is for who does not ask.
"""

from typing import Literal, NamedTuple


class Blend(NamedTuple):
    """The sum of both legs' scores on a common scale, each with its share.

    :ivar way: `rrf` is `1 / (k + rank)`, rank from 1; `dbsf` is 0 three standard deviations below a leg's mean and 1
        three above.
    :ivar lexical_weight: share of BM25, 0 to 1; the vectors have the rest, or all of it where a text has no words.
    """

    way: Literal["rrf", "dbsf"]
    lexical_weight: float
    k: int = 60

    @property
    def is_even(self) -> bool:
        """Whether both legs weigh alike: this an engine's own fusion can do."""
        return self.lexical_weight == 0.5

    @property
    def has_both(self) -> bool:
        """Whether each leg has a share: without one the order of what the other did not find is chance."""
        return 0 < self.lexical_weight < 1

    @property
    def counted_from_0(self) -> int:
        """The constant for who counts ranks from 0, as the engines do."""
        return self.k + 1
