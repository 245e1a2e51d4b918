"""How texts are grouped so that little of a batch is padding, and made ready while the device is busy."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ragsaver.models.devices import Device

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
    texts: Sequence[str], tokenize: Tokenize[Inputs], batch_tokens: int, device: Device
) -> Iterator[Batch[Inputs]]:
    """`texts` in batches; for a GPU the next ones are tokenized and padded while it embeds.

    :param batch_tokens: as `batches` takes them.
    """
    many = device == "cuda" and len(texts) > 1

    def tokenized() -> Iterator[tuple[list[int], list[int], Callable[[list[int]], Inputs]]]:
        for block in blocks(texts, _BLOCK_BATCHES * _CHARACTERS_A_TOKEN * batch_tokens if many else None):
            yield block, *tokenize([texts[position] for position in block])

    def padded(
        rows: Iterable[tuple[list[int], list[int], Callable[[list[int]], Inputs]]],
    ) -> Iterator[Batch[Inputs]]:
        for block, lengths, pad in rows:
            for group in batches(lengths, batch_tokens):
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


def blocks(texts: Sequence[str], characters: int | None) -> list[list[int]]:
    """Group texts of like length, so that one group can be tokenized while another is embedded.

    :param characters: a block is closed by the text that reaches so many; None puts all into one block.
    :returns: positions, each once; the longest blocks first.
    """
    if characters is None:
        return [list(range(len(texts)))] if texts else []
    groups: list[list[int]] = []
    room = 0
    for position in sorted(range(len(texts)), key=lambda position: -len(texts[position])):
        if room <= 0:
            groups.append([])
            room = characters
        groups[-1].append(position)
        room -= len(texts[position])
    return groups


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Each of `items` in turn, the next one made on a thread of its own meanwhile; what that raises comes up here."""
    making = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as maker:
        coming = maker.submit(next, making, _END)
        while (item := coming.result()) is not _END:
            coming = maker.submit(next, making, _END)
            yield item  # type: ignore[misc]
