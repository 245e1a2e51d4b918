"""Chunks without documents: vectors in clusters and texts of made-up words, the same ones every time.

Vectors are a centre and a scatter around it, both with a spectrum that falls off as that of sentence embeddings does
(scale 1/sqrt(rank), about 26 dimensions that count), turned at random so that no axis stands out. Words are as frequent
as Zipf has it, and each takes two tokens of the shipped model's: a chunk has about 120, as those of documents have.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragsaver.models.registry import bundled_folder

DIM, CENTRES, WORDS, CHUNK_WORDS, QUESTION_WORDS = 384, 2000, 50_000, 60, 6
NEAREST = 10
SEED = 20
BLOCK = 1000  # chunks made at once; texts of a block can be made again alone

Vectors = NDArray[np.float32]


class SyntheticChunks:
    """So many chunks, and questions that are near some of them.

    :ivar vectors: (size, 384) float32, L2-normalised, on the disk.
    :ivar questions: (questions, 384) float32, L2-normalised; none is a chunk's vector.
    :ivar nearest: (questions, 10), the positions of the chunks nearest to each question, exactly.
    """

    def __init__(self, folder: Path) -> None:
        self.vectors: Vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        self.questions: Vectors = np.load(folder / "questions.npy")
        self.nearest = np.load(folder / "nearest.npy")
        self.size = len(self.vectors)
        self._words = _vocabulary()

    def texts(self, block: int) -> list[str]:
        """The texts of the chunks from `block * BLOCK` on."""
        size = min(BLOCK, self.size - block * BLOCK)
        dice = np.random.default_rng((SEED, 2, block))
        return [" ".join(self._words[number] for number in row) for row in _word_numbers(dice, (size, CHUNK_WORDS))]

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Vectors, list[str]]]:
        """The position of each block's first chunk, its vectors and its texts; `start` is the first of a block."""
        for first in range(start, stop or self.size, BLOCK):
            yield first, np.array(self.vectors[first : first + BLOCK]), self.texts(first // BLOCK)

    def asked(self) -> list[str]:
        """The questions' words, each with those of one chunk's."""
        dice = np.random.default_rng((SEED, 3))
        texts = self.texts(0)
        some = [texts[dice.integers(len(texts))].split() for _ in self.questions]
        return [" ".join(dice.choice(words, QUESTION_WORDS, replace=False)) for words in some]

    def recall(self, found: list[list[int]]) -> float:
        """The share of the exactly nearest chunks that is among the first ten found, of the first questions."""
        truths = self.nearest[: len(found)]
        same = [len(set(ids[:NEAREST]) & set(truth.tolist())) for ids, truth in zip(found, truths, strict=True)]
        return float(np.mean(same)) / NEAREST


def generate(folder: Path, size: int, questions: int) -> None:
    """Write the vectors of chunks and questions, and which chunks are nearest to each question."""
    dice = np.random.default_rng((SEED, 1))
    scales = (np.arange(1, DIM + 1) ** -0.5).astype(np.float32)
    turn = np.linalg.qr(dice.standard_normal((DIM, DIM)))[0].astype(np.float32)
    centres = dice.standard_normal((CENTRES, DIM), dtype=np.float32)

    def some(count: int) -> Vectors:
        scatter = dice.standard_normal((count, DIM), dtype=np.float32)
        vectors = (centres[dice.integers(CENTRES, size=count)] + scatter) * scales @ turn
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    asked = some(questions)
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (size, DIM))
    scores, places = np.empty((questions, 0), np.float32), np.empty((questions, 0), np.int64)
    for start in range(0, size, BLOCK):
        block = some(min(BLOCK, size - start))
        vectors[start : start + BLOCK] = block
        scores = np.hstack([scores, asked @ block.T])
        places = np.hstack([places, np.tile(np.arange(start, start + len(block)), (questions, 1))])
        best = np.argsort(-scores, axis=1)[:, :NEAREST]
        scores, places = np.take_along_axis(scores, best, 1), np.take_along_axis(places, best, 1)
    vectors.flush()
    np.save(folder / "questions.npy", asked)
    np.save(folder / "nearest.npy", places)


def _vocabulary() -> list[str]:
    known = json.loads((bundled_folder() / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    beginnings = [word for word in known if word.isascii() and word.isalpha() and len(word) > 3]
    endings = [word[2:] for word in known if word.isascii() and word[:2] == "##" and word[2:].isalpha() and word[3:]]
    dice = np.random.default_rng((SEED, 4))
    words: dict[str, None] = {}
    while len(words) < WORDS:
        words[beginnings[dice.integers(len(beginnings))] + endings[dice.integers(len(endings))]] = None
    return list(words)


def _word_numbers(dice: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.int64]:
    frequencies = 1 / (np.arange(WORDS) + 5)
    return np.searchsorted(np.cumsum(frequencies / frequencies.sum()), dice.random(shape)).clip(max=WORDS - 1)
