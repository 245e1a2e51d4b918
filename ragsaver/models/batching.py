"""How texts are grouped so that little of a batch is padding."""

from collections.abc import Callable, Sequence

# Told of each batch of documents once its vectors are there, from whatever thread embeds: its tokens without and with
# padding, special tokens included. Questions are not told of: they come alone, and say nothing about how batches fill.
BatchObserver = Callable[[int, int], None]


def batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Group texts of like length under a budget of padded tokens.

    :param lengths: tokens of each text.
    :param batch_tokens: a batch's longest text times its size stays within this (a single text may exceed it).
    :returns: positions, each once; the longest batches first, so that memory peaks at the start.
    :raises ValueError: if `batch_tokens` is below 1.
    """
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens must be at least 1, got {batch_tokens}")
    order = sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))
    groups: list[list[int]] = []
    for position in order:
        # sorted by length: the first of a group is its longest
        if groups and (len(groups[-1]) + 1) * max(lengths[groups[-1][0]], 1) <= batch_tokens:
            groups[-1].append(position)
        else:
            groups.append([position])
    return groups


def tokens_of(lengths: Sequence[int]) -> tuple[int, int]:
    """Tokens of a batch without and with padding."""
    return sum(lengths), len(lengths) * max(lengths, default=0)
