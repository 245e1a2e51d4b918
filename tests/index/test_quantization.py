"""Vectors are made smaller, and what is found by the smaller ones is still compared by the whole ones."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from qdrant_client import models

from ragsaver.index.connection import Connection, ServerPlace
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.protocol import ChunkPoint
from ragsaver.index.quantization import Kind, Quantization
from ragsaver.index.server import ServerIndex
from ragsaver.index.server_collection import Growth
from tests.index.points import ACME, IDENTITY, listed, point, vector
from tests.qdrant_server import StandIn, qdrant_server

# The engine makes smaller copies of no segment under 10,000 kB of vectors.
DIM, POINTS = 384, 7000
WIDE = IndexIdentity("wide", "a" * 32, DIM, "english", 50.0)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    random = np.random.default_rng(0)
    made = random.normal(size=(POINTS, DIM)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["int8", "turbo", "binary"])  # product takes minutes to train
def test_an_index_that_was_made_without_gets_smaller_copies_and_finds_by_the_whole_vectors(
    kind: Kind, vectors: np.ndarray, tmp_path: Path
) -> None:
    points = [ChunkPoint(f"00000000-0000-0000-0000-{n:012}", "doc", one, "zebra", {}) for n, one in enumerate(vectors)]
    with closing(EdgeIndex(tmp_path, WIDE)) as made:
        for start in range(0, POINTS, 1000):
            listed(made, ACME, *points[start : start + 1000])
    assert list(tmp_path.rglob("*quantized*")) == []
    with closing(EdgeIndex(tmp_path, WIDE, quantization=Quantization(kind, oversampling=4.0))) as index:
        assert index.optimise(force=True)
        smaller = sum(file.stat().st_size for file in tmp_path.rglob("*quantized*") if file.is_file())
        assert 0 < smaller < vectors.nbytes / 3
        for n in (0, 99, POINTS - 1):
            best = index.search(ACME, "", vectors[n], 5).dense[0]
            assert (best.id, best.score) == (points[n].id, pytest.approx(1.0, abs=1e-4))
        np.testing.assert_allclose(index.vectors(ACME, [points[5].id])[points[5].id], vectors[5], atol=1e-6)


@pytest.fixture
def server() -> Iterator[StandIn]:
    with qdrant_server() as started:
        yield started


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_new_collection_has_smaller_copies_in_memory_and_questions_are_rescored(kind: Kind, server: StandIn) -> None:
    connection = Connection(ServerPlace(server.url, grpc_port=None))
    growth = Growth(on_disk=True, quantization=Quantization(kind, oversampling=3.0))
    with closing(ServerIndex(connection, "corpus", IDENTITY, growth=growth)) as index:
        listed(index, ACME, point("zebra"))
        index.search(ACME, "zebra", vector(0), 5)
    (body,) = (body for method, path, body in server.asked if (method, path) == ("PUT", "/collections/corpus"))
    made = models.CreateCollection.model_validate(body).quantization_config
    assert next(iter(made.model_dump().values()))["always_ram"] is True
    assert ("scalar" if kind == "int8" else kind) in made.model_dump()
    dense, lexical = server.requests("/points/query/batch")[0]["searches"]
    assert dense["params"]["quantization"] == {"rescore": True, "oversampling": 3.0}
    assert "quantization" not in lexical["params"]
