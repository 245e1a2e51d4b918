"""Where a section is cut: by the words around a place, and by nothing further away.

A cut is made behind a piece whose own hash is the largest among all pieces within `min_words` of it on either side
(local-maximum chunking, Bjørner, Blass & Gurevich 2010). Pieces that are the same, as a table's rows often are, are
told apart by the pieces around them; where those are the same too, one place is as good as another, and what is full
is cut off from the front.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import xxhash

_HASH_BYTES = 8

# A piece's hash, and that of what stands around it if others have the same.
Rank = tuple[int, int]


def parts(texts: Sequence[str], words: Sequence[int], min_words: int, max_words: int) -> Iterator[tuple[int, int]]:
    """The pieces of a section as ranges, in order.

    :param words: of each piece.
    :param min_words: no two cuts are nearer, and none is nearer than half of it to the section's edges. Cuts that
        `max_words` asks for leave a shorter part where the largest hash stands near an edge; where it stands in more
        places, one is taken that does not, if there is one.
    :param max_words: a part of more than one piece never has more.
    """
    ends = list(accumulate(words))
    ranks = ranked(texts, ends, min_words)
    start = 0
    for cut in cuts(ends, ranks, min_words) if len(texts) > 1 else ():
        yield from _bounded(ends, ranks, (start, cut + 1), min_words, max_words)
        start = cut + 1
    yield from _bounded(ends, ranks, (start, len(texts)), min_words, max_words)


def ranked(texts: Sequence[str], ends: Sequence[int], reach_words: int) -> list[Rank]:
    """What decides where the section may be cut, for each piece.

    :param ends: words up to the end of each piece.
    :param reach_words: what is no further away counts as around a piece.
    """
    hashes = [_hash(text.encode()) for text in texts]
    seen = Counter(hashes)
    if len(seen) == len(hashes):
        return [(own, 0) for own in hashes]
    beside = array("Q", hashes).tobytes()
    ranks: list[Rank] = []
    for end, own in zip(ends, hashes, strict=True):
        around = 0
        if seen[own] > 1:
            first, last = bisect_right(ends, end - reach_words), bisect_left(ends, end + reach_words)
            around = _hash(beside[first * _HASH_BYTES : last * _HASH_BYTES])
        ranks.append((own, around))
    return ranks


def cuts(ends: Sequence[int], ranks: Sequence[Rank], min_words: int) -> Iterator[int]:
    """Positions of the pieces after which a section is cut, ascending.

    :param ends: words up to the end of each piece.
    :param ranks: as `ranked` gives them.
    """
    for at in range(len(ends) - 1):
        if min(ends[at], ends[-1] - ends[at]) * 2 < min_words:
            continue  # what would be left at the section's edge is too short to stand alone
        if not _outranked(ends, ranks, at, min_words):
            yield at


def _outranked(ends: Sequence[int], ranks: Sequence[Rank], at: int, min_words: int) -> bool:
    """Whether a piece within reach ranks higher; of equals the first wins."""
    other = at - 1
    while other >= 0 and ends[at] - ends[other] < min_words:
        if ranks[other] >= ranks[at]:
            return True
        other -= 1
    other = at + 1
    while other < len(ends) - 1 and ends[other] - ends[at] < min_words:
        if ranks[other] > ranks[at]:
            return True
        other += 1
    return False


def _bounded(
    ends: Sequence[int], ranks: Sequence[Rank], between: tuple[int, int], min_words: int, max_words: int
) -> Iterator[tuple[int, int]]:
    """What is between two cuts, cut again where it ranks highest until no part is too long."""
    waiting = [between]
    while waiting:
        start, end = waiting.pop()
        before = ends[start - 1] if start else 0
        if end - start < 2 or ends[end - 1] - before <= max_words:
            if end > start:
                yield start, end
            continue
        highest, _ = max(ranks[start : end - 1])
        same = [place for place in range(start, end - 1) if ranks[place][0] == highest]
        inside = [at for at in same if ends[at] - before >= min_words and ends[end - 1] - ends[at] >= min_words] or same
        best = max(ranks[at] for at in inside)
        alike = [at + 1 for at in inside if ranks[at] == best]
        edges = [start, *_filled(alike, ends, start, end, max_words), end]
        waiting += reversed(list(pairwise(edges)))


def _filled(places: Sequence[int], ends: Sequence[int], start: int, end: int, max_words: int) -> list[int]:
    """Of places that are all the same, those that make full parts from the front; the last two share what is left."""
    upto = [ends[place - 1] for place in places]
    done = ends[start - 1] if start else 0
    chosen: list[int] = []
    following = 0
    while following < len(places) and (left := ends[end - 1] - done) > max_words:
        full = left // 2 if left < 2 * max_words else max_words
        at = max(bisect_right(upto, done + full, following) - 1, following)
        chosen.append(places[at])
        done = upto[at]
        following = at + 1
    return chosen


def _hash(data: bytes) -> int:
    return xxhash.xxh3_64_intdigest(data)
