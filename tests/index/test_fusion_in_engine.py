"""The engines' own fusion of both legs against the one that is done here: reciprocal ranks and distributions, by order."""

import uuid

import numpy as np
import pytest
import qdrant_edge
from qdrant_client import models

from ragsaver.components.fusion import RRF_K, Fusion, fuse
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.edge_requests import leg, listed_in
from ragsaver.index.keys import DENSE, LEXICAL
from ragsaver.index.protocol import ChunkPoint, VectorIndex
from ragsaver.index.server import ServerIndex
from tests.index.engines import engine
from tests.index.points import ACME, DIM, IDENTITY, listed

LIMIT, POINTS = 40, 300
WORDS = [f"word{number}" for number in range(600)]
# The engines count ranks from the constant, we from one more.
K = RRF_K + 1


def by_edge(index: EdgeIndex, text: str, vector: np.ndarray, fusion: Fusion) -> list[str]:
    visible = listed_in(ACME)
    legs = [
        leg(vector.tolist(), DENSE, LIMIT, visible, False),
        leg(index._bm25.embed_query(text), LEXICAL, LIMIT, visible, False),
    ]
    inner = [qdrant_edge.Prefetch(LIMIT, query=one.query, filter=one.filter) for one in legs]
    way = qdrant_edge.Fusion.Rrf(k=K) if fusion is Fusion.RRF else qdrant_edge.Fusion.Dbsf()
    asked = qdrant_edge.QueryRequest(2 * LIMIT, query=way, prefetches=inner)
    return [str(point.id) for point in index._read(lambda shard: shard.query(asked))]


def by_client(index: ServerIndex, text: str, vector: np.ndarray, fusion: Fusion) -> list[str]:
    legs = index._legs(ACME, text, vector, LIMIT, False)
    inner = [models.Prefetch(query=one.query, using=one.using, filter=one.filter, limit=LIMIT) for one in legs]
    way = (
        models.RrfQuery(rrf=models.Rrf(k=K)) if fusion is Fusion.RRF else models.FusionQuery(fusion=models.Fusion.DBSF)
    )
    found = index._connection.ask(
        lambda client: client.query_points(index._name, prefetch=inner, query=way, limit=2 * LIMIT)
    )
    return [str(point.id) for point in found.points]


@pytest.fixture(scope="module", params=["edge", "local"])
def index(request, tmp_path_factory):
    dice = np.random.default_rng(5)
    with engine(request.param, tmp_path_factory.mktemp(request.param)) as opening:
        opened = opening(IDENTITY)
        points = []
        for number in range(POINTS):
            vector = dice.standard_normal(DIM).astype(np.float32)
            # no two are as long: passages of the same score have ranks that each engine deals out as it likes
            text = " ".join(dice.choice(WORDS, 5 + number))
            points.append(ChunkPoint(str(uuid.UUID(int=number)), "doc", vector / np.linalg.norm(vector), text, {}))
        listed(opened, ACME, *points)
        yield opened
        opened.close()


@pytest.mark.parametrize("fusion", [Fusion.RRF, Fusion.DBSF])
@pytest.mark.parametrize("seed", range(4))
def test_an_engine_fuses_in_the_order_that_we_do_where_both_legs_weigh_alike(
    index: VectorIndex, fusion: Fusion, seed: int
):
    dice = np.random.default_rng(seed)
    vector = dice.standard_normal(DIM).astype(np.float32)
    vector /= np.linalg.norm(vector)
    text = " ".join(dice.choice(WORDS, 2, replace=False))
    ours = fuse(*index.search(ACME, text, vector, LIMIT, with_payload=False).scores(), 0.5, fusion)
    ask = by_edge if isinstance(index, EdgeIndex) else by_client
    theirs = ask(index, text, vector, fusion)
    assert len(theirs) == len(ours) > LIMIT
    # those that score alike may stand either way
    scores = dict(ours)
    np.testing.assert_allclose([scores[key] for key in theirs], [score for _, score in ours], atol=1e-5)
