"""How texts are grouped so that little of a batch is padding, and made ready while the device is busy."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ragsaver.models.devices import Budget, Device

# Told of each batch of documents once its vectors are there, from whatever thread embeds: its tokens without and with
# padding, special tokens included. Questions are not told of: they come alone, and say nothing about how batches fill.
BatchObserver = Callable[[int, int], None]

Item = TypeVar("Item")

Inputs = TypeVar("Inputs")
# Tokenizes texts: the tokens of each, and what pads those at some positions to the inputs of one run of the model.
Tokenize = Callable[[list[str]], tuple[list[int], Callable[[list[int]], Inputs]]]

# A block is tokenized while the one before is embedded; it is some batches long, so that a batch mixes few lengths.
_BLOCK_BATCHES = 4
_CHARACTERS_A_TOKEN = 4
_END = object()


@dataclass(frozen=True, slots=True)
class Batch(Generic[Inputs]):
    """What one run of the model embeds.

    :ivar positions: of its texts.
    :ivar tokens: of its texts, without padding; special ones count.
    :ivar padded: tokens with padding.
    """

    positions: list[int]
    tokens: int
    padded: int
    inputs: Inputs


def ready_batches(
    texts: Sequence[str], tokenize: Tokenize[Inputs], budget: Budget, device: Device
) -> Iterator[Batch[Inputs]]:
    """`texts` in batches; for a GPU the next ones are tokenized and padded while it embeds.

    :param budget: as `batches` takes it.
    """
    many = device == "cuda" and len(texts) > 1

    def tokenized() -> Iterator[tuple[list[int], list[int], Callable[[list[int]], Inputs]]]:
        characters = _BLOCK_BATCHES * _CHARACTERS_A_TOKEN * budget.tokens if many else None
        for block in blocks(list(map(len, texts)), characters):
            yield block, *tokenize([texts[position] for position in block])

    def padded(
        rows: Iterable[tuple[list[int], list[int], Callable[[list[int]], Inputs]]],
    ) -> Iterator[Batch[Inputs]]:
        for block, lengths, pad in rows:
            for group in batches(lengths, budget):
                sizes = [lengths[number] for number in group]
                yield Batch([block[number] for number in group], sum(sizes), len(sizes) * max(sizes), pad(group))

    return ahead(padded(ahead(tokenized()))) if many else padded(tokenized())


def pad_right(rows: Sequence[Sequence[int]], filling: int = 0) -> NDArray[np.int64]:
    """(len(rows), longest) int64: each row, then `filling`."""
    padded = np.full((len(rows), max(map(len, rows), default=0)), filling, dtype=np.int64)
    padded[mask_of(rows) == 1] = np.fromiter(chain.from_iterable(rows), dtype=np.int64)
    return padded


def mask_of(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """(len(rows), longest) int64: 1 where a row has a token, 0 where it is padded on the right."""
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    return np.asarray(np.arange(lengths.max(initial=0)) < lengths[:, None], dtype=np.int64)


def batches(lengths: Sequence[int], budget: Budget) -> list[list[int]]:
    """Group texts of like length so that padding and the starts of runs together cost least.

    Of all ways to cut the texts, sorted by length, into batches within the budget, the one whose padded tokens and
    `run_tokens` for each batch have the least sum (dynamic programming, from the shortest text back to the longest).

    :param lengths: tokens of each text.
    :param budget: a batch's longest text times its size stays within its tokens (a single text may exceed them).
    :returns: positions, each once; the longest batches first, so that memory peaks at the start.
    :raises ValueError: if the budget's tokens are below 1.
    """
    if budget.tokens < 1:
        raise ValueError(f"batch_tokens must be at least 1, got {budget.tokens}")
    order = sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))
    sizes = np.arange(1, len(order) + 1)
    least = np.zeros(len(order) + 1, dtype=np.int64)  # what the texts from there on cost
    taken = [0] * len(order)
    for start in reversed(range(len(order))):
        longest = max(lengths[order[start]], 1)
        most = min(max(budget.tokens // longest, 1), len(order) - start)
        costs = sizes[:most] * longest + least[start + 1 : start + most + 1]
        best = int(costs.argmin())
        least[start], taken[start] = costs[best] + budget.run_tokens, best + 1
    groups: list[list[int]] = []
    start = 0
    while start < len(order):
        groups.append(order[start : start + taken[start]])
        start += taken[start]
    return groups


def blocks(sizes: Sequence[int], room: int | None) -> list[list[int]]:
    """Group items of like size.

    :param room: a block is closed by the item that fills so much; None puts all into one block, in their order.
    :returns: positions, each once; the largest items first.
    """
    if room is None:
        return [list(range(len(sizes)))] if sizes else []
    groups: list[list[int]] = []
    left = 0
    for position in sorted(range(len(sizes)), key=lambda position: -sizes[position]):
        if left <= 0:
            groups.append([])
            left = room
        groups[-1].append(position)
        left -= sizes[position]
    return groups


def groups_within(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Group items of like size so that no group is above a budget, but for an item that is above it alone.

    :returns: positions, each once; the largest items first.
    """
    groups: list[list[int]] = []
    left = 0
    for position in sorted(range(len(sizes)), key=lambda position: -sizes[position]):
        if not groups or sizes[position] > left:
            groups.append([])
            left = budget
        groups[-1].append(position)
        left -= sizes[position]
    return groups


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Each of `items` in turn, the next one made on a thread of its own meanwhile; what that raises comes up here."""
    making = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as maker:
        coming = maker.submit(next, making, _END)
        while (item := coming.result()) is not _END:
            coming = maker.submit(next, making, _END)
            yield item  # type: ignore[misc]
