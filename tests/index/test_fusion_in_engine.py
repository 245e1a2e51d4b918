"""An engine that makes one order of both legs by itself gives the one that is made here: paragraphs and headings of this
project's docs, their real vectors, every engine and every way to ask it.
"""

import uuid
from pathlib import Path

import numpy as np
import pytest

from ragsaver.components.blending import blend_of, blended
from ragsaver.components.fusion import Fusion, fuse
from ragsaver.index.blend import Blend
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.protocol import ChunkPoint, VectorIndex
from ragsaver.models.registry import load_encoder
from ragsaver.settings import RetrievalSettings, Settings
from tests.index.engines import AWAITED, KINDS, engine
from tests.index.points import ACME, RIVAL, listed

DOCS = Path(__file__).parents[2] / "docs"
PARAGRAPHS, QUESTIONS, LIMIT, MOST = 160, 60, 40, 25
ENOUGH = 6  # questions without ties
BLENDS = [Fusion.RRF, Fusion.DBSF]


@pytest.fixture(scope="module")
def corpus():
    """Paragraphs and headings, each with its vector."""
    text = "\n\n".join(file.read_text() for file in sorted(DOCS.rglob("*.md")))
    blocks = dict.fromkeys(block.strip() for block in text.split("\n\n") if block.strip())
    headings = sorted({block.lstrip("# ").partition("\n")[0] for block in blocks if block.startswith("#")})
    paragraphs = [block for block in blocks if not block.startswith("#") and 100 < len(block) < 600]
    dice = np.random.default_rng(5)
    chosen = [str(one) for one in dice.choice(paragraphs, PARAGRAPHS, replace=False)]
    asked = [str(one) for one in dice.choice(headings, QUESTIONS, replace=False)]
    encoder = load_encoder(Settings().embedding)
    identity = IndexIdentity(encoder.name, encoder.fingerprint, encoder.dim, "english", 50.0)
    return (
        identity,
        list(zip(chosen, encoder.encode(chosen), strict=True)),
        list(zip(asked, encoder.encode(asked), strict=True)),
    )


@pytest.fixture(scope="module", params=[*KINDS, *AWAITED])
def index(request, corpus, tmp_path_factory):
    identity, paragraphs, _ = corpus
    with engine(request.param, tmp_path_factory.mktemp(request.param)) as opening:
        opened = opening(identity)
        points = [
            ChunkPoint(str(uuid.UUID(int=place)), "doc", vector, text, {"text": text})
            for place, (text, vector) in enumerate(paragraphs)
        ]
        listed(opened, ACME, *points)
        theirs = [
            ChunkPoint(str(uuid.uuid4()), "theirs", vector, text, {"text": text}) for text, vector in paragraphs[:20]
        ]
        listed(opened, RIVAL, *theirs)
        yield opened
        opened.close()


def has_ties(leg) -> bool:
    """Passages of the same score have ranks that each engine deals out as it likes."""
    scores = sorted(hit.score for hit in leg)
    return bool(scores) and bool((np.diff(scores) < 1e-7).any())


@pytest.mark.parametrize("fusion", BLENDS)
@pytest.mark.parametrize("weight", [0.5, 0.55, 0.2])
def test_an_engine_gives_the_order_the_scores_and_the_payloads_that_we_do(
    index: VectorIndex, corpus, fusion: Fusion, weight: float
):
    blend = blend_of(index, fusion, weight, RetrievalSettings())
    if weight != 0.5 and not isinstance(index, EdgeIndex):
        assert blend is None
        return
    compared = 0
    for question, vector in corpus[2]:
        legs = index.search(ACME, question, vector, LIMIT, with_payload=False)
        if not legs.lexical or (fusion is Fusion.RRF and any(map(has_ties, (legs.dense, legs.lexical)))):
            continue
        ours = fuse(*legs.scores(), weight, fusion)
        theirs = blended(index, question, index.blended(ACME, question, vector, LIMIT, blend, MOST), fusion)
        if theirs is None:  # a word of the question is in none of the first: the legs are asked for
            continue
        scores = dict(ours)
        np.testing.assert_allclose([scores[key] for key, _ in theirs.fused], [s for _, s in theirs.fused], atol=1e-5)
        np.testing.assert_allclose([score for _, score in ours[:MOST]], [s for _, s in theirs.fused], atol=1e-5)
        assert theirs.carried == index.payloads(ACME, [key for key, _ in theirs.fused])
        compared += 1
        if compared == ENOUGH:
            return
    raise AssertionError(f"only {compared} questions have no ties")


@pytest.mark.parametrize("fusion", BLENDS)
@pytest.mark.parametrize("question", ["", "  ", "the of and"])
def test_a_question_without_words_is_the_vectors_alone(index: VectorIndex, corpus, fusion: Fusion, question: str):
    blend, vector = blend_of(index, fusion, 0.5, RetrievalSettings()), corpus[2][0][1]
    legs = index.search(ACME, question, vector, LIMIT, with_payload=False)
    theirs = blended(index, question, index.blended(ACME, question, vector, LIMIT, blend, MOST), fusion)
    ours = fuse(*legs.scores(), 0.5, fusion)[:MOST]
    assert not legs.lexical and [key for key, _ in theirs.fused] == [key for key, _ in ours]
    np.testing.assert_allclose([s for _, s in theirs.fused], [s for _, s in ours], atol=1e-5)


@pytest.mark.parametrize("fusion", BLENDS)
def test_whether_words_were_found_is_not_told_so_those_that_are_nowhere_are_left_to_us(
    index: VectorIndex, corpus, fusion: Fusion
):
    blend, vector = blend_of(index, fusion, 0.5, RetrievalSettings()), corpus[2][0][1]
    hits = index.blended(ACME, "quetzalcoatlus", vector, LIMIT, blend, MOST)
    assert len(hits) == MOST and blended(index, "quetzalcoatlus", hits, fusion) is None


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_leg_without_a_share_is_not_left_to_an_engine(index: VectorIndex, weight: float):
    assert not index.blends(Blend("rrf", weight))


def test_what_only_we_can_do_is_not_left_to_an_engine(index: VectorIndex):
    settings = RetrievalSettings()
    assert blend_of(index, Fusion.MIN_MAX, 0.5, settings) is blend_of(index, Fusion.Z_SCORE, 0.5, settings) is None
    assert blend_of(index, Fusion.RRF, 0.5, RetrievalSettings(feedback_passages=3)) is None
    assert blend_of(index, Fusion.RRF, 0.5, settings) is not None
