"""The same chunks in other engines: each peer is filled, and answers a question with the positions of chunks."""

from collections.abc import Callable
from sys import intern

import numpy as np
from numpy.typing import NDArray
from synthetic_chunks import BLOCK, DIM, NEAREST, SyntheticChunks

Search = Callable[[str, NDArray[np.float32]], list[int]]
CANDIDATES = 100


def numpy(chunks: SyntheticChunks) -> Search:
    """All vectors in memory, all looked at."""
    vectors = np.array(chunks.vectors)

    def search(text: str, vector: NDArray[np.float32]) -> list[int]:
        return _best(vectors @ vector, NEAREST)

    return search


def qdrant_local(chunks: SyntheticChunks) -> Search:
    """qdrant-client's local mode in memory, without payload and filter, which would make it slower."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    client.create_collection("chunks", vectors_config=models.VectorParams(size=DIM, distance=models.Distance.DOT))
    for start, vectors, _ in chunks.blocks():
        ids = list(range(start, start + len(vectors)))
        client.upsert("chunks", models.Batch(ids=ids, vectors=vectors.tolist()))

    def search(text: str, vector: NDArray[np.float32]) -> list[int]:
        found = client.query_points("chunks", vector.tolist(), limit=NEAREST, with_payload=False)
        return [int(point.id) for point in found.points]

    return search


def bm25s(chunks: SyntheticChunks) -> Search:
    """BM25 with scores of all words counted beforehand; no words are stemmed."""
    import bm25s as engine

    index = engine.BM25()
    index.index(_words(chunks), show_progress=False)

    def search(text: str, vector: NDArray[np.float32]) -> list[int]:
        found = index.retrieve([text.split()], k=CANDIDATES, show_progress=False)
        return [int(place) for place in found.documents[0]]

    return search


def rank_bm25(chunks: SyntheticChunks) -> Search:
    """BM25 in plain Python, which looks at every chunk for every word; no words are stemmed."""
    from rank_bm25 import BM25Okapi

    index = BM25Okapi(_words(chunks))

    def search(text: str, vector: NDArray[np.float32]) -> list[int]:
        return _best(index.get_scores(text.split()), CANDIDATES)

    return search


def _best(scores: NDArray[np.floating], count: int) -> list[int]:
    best = np.argpartition(-scores, count)[:count]
    return [int(place) for place in best[np.argsort(-scores[best])]]


def _words(chunks: SyntheticChunks) -> list[list[str]]:
    """One string for each word, not one for each time it stands: gigabytes less with a million chunks."""
    texts = (text for block in range(-(-chunks.size // BLOCK)) for text in chunks.texts(block))
    return [list(map(intern, text.split())) for text in texts]


PEERS: dict[str, Callable[[SyntheticChunks], Search]] = {
    "numpy": numpy,
    "qdrant-local": qdrant_local,
    "bm25s": bm25s,
    "rank_bm25": rank_bm25,
}
LEXICAL = ("bm25s", "rank_bm25")
