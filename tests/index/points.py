"""Points small enough to see through, for the tests of every engine."""

import uuid

import numpy as np

from ragsaver.index.identity import IndexIdentity
from ragsaver.index.protocol import ChunkPoint, VectorIndex
from ragsaver.index.scope import Scope

DIM = 8
IDENTITY = IndexIdentity("tiny", "f" * 32, DIM, "english", 50.0)
ACME = Scope("acme", "docs")
RIVAL = Scope("rival", "docs")


def vector(direction: int) -> np.ndarray:
    values = np.full(DIM, 0.01, dtype=np.float32)
    values[direction % DIM] = 1.0
    return values / np.linalg.norm(values)


def point(text: str, direction: int = 0, **payload: object) -> ChunkPoint:
    return ChunkPoint(str(uuid.uuid4()), "doc", vector(direction), text, {"text": text, **payload})


def listed(index: VectorIndex, scope: Scope, *points: ChunkPoint) -> None:
    index.upsert(scope, points)
    index.list_and_delete(scope, [p.id for p in points], [])
