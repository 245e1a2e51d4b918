"""The engine's BM25 against rank_bm25, which computes it plainly: on the paragraphs and headings of this project's docs.

Two things differ between them. rank_bm25 takes Robertson and Spärck Jones' weight of a word, which is below zero for
one that stands in more than half of the passages, and gives such words a floor; the engine adds one under the
logarithm, as Lucene does, so that it is never below zero. And the engine is told the average length of a passage when
an index is made, where rank_bm25 counts it. With both set alike the scores are the same numbers.
"""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from rank_bm25 import BM25Okapi

from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.protocol import ChunkPoint
from ragsaver.index.scope import Scope
from ragsaver.index.words import word_encoder

DOCS = Path(__file__).parents[2] / "docs"
SCOPE = Scope("acme", "docs")
DIM = 4


class LikeLucene(BM25Okapi):
    """rank_bm25 with one added under the logarithm."""

    def _calc_idf(self, nd):
        for word, count in nd.items():
            self.idf[word] = math.log(1 + (self.corpus_size - count + 0.5) / (count + 0.5))


@pytest.fixture(scope="module")
def corpus():
    """Paragraphs, and headings that ask for them."""
    text = "\n\n".join(file.read_text() for file in sorted(DOCS.rglob("*.md")))
    blocks = [block.strip() for block in text.split("\n\n") if block.strip()]
    headings = sorted({block.lstrip("# ").partition("\n")[0] for block in blocks if block.startswith("#")})
    return [block for block in blocks if not block.startswith("#")], headings


def words(encoder, text):
    """As the engine sees them: stems without stop words, in order."""
    return [stem for word in re.findall(r"\w+", text) for stem in encoder.embed_query(word).indices]


@pytest.fixture(scope="module", params=[(1.2, 0.75), (2.0, 0.5)], ids=["default", "set"])
def engine(corpus, tmp_path_factory, request):
    """What the engine scores each passage for a question, the words of all passages, and its k1 and b."""
    k1, b = request.param
    passages, _ = corpus
    counting = word_encoder(IndexIdentity("m", "f" * 8, DIM, "english", 1.0).words)
    tokens = [words(counting, passage) for passage in passages]
    average = sum(map(len, tokens)) / len(tokens)
    index = EdgeIndex(tmp_path_factory.mktemp("bm25"), IndexIdentity("m", "f" * 8, DIM, "english", average, k1, b))
    vector = np.eye(DIM, dtype=np.float32)[0]
    ids = [f"00000000-0000-0000-0000-{n:012d}" for n in range(len(passages))]
    index.upsert(SCOPE, [ChunkPoint(one, one, vector, text, {}) for one, text in zip(ids, passages, strict=True)])
    index.list_and_delete(SCOPE, ids, [])

    def scores(question):
        found = np.zeros(len(passages))
        for hit in index.search(SCOPE, question, vector, len(passages)).lexical:
            found[int(hit.id.rpartition("-")[2])] = hit.score
        return found

    yield scores, tokens, counting, {"k1": k1, "b": b}
    index.close()


def test_with_the_same_weights_the_scores_are_the_same(corpus, engine):
    _, headings = corpus
    scores, tokens, counting, weights = engine
    oracle = LikeLucene(tokens, **weights)
    asked = 0
    for heading in headings:
        if query := sorted(set(words(counting, heading))):
            np.testing.assert_allclose(scores(heading), oracle.get_scores(query), rtol=1e-3, atol=1e-3)
            asked += 1
    assert asked > 50


def test_with_its_own_weights_rank_bm25_ranks_nearly_alike(corpus, engine):
    _, headings = corpus
    scores, tokens, counting, weights = engine
    oracle = BM25Okapi(tokens, **weights)
    shared = []
    for heading in headings:
        if query := sorted(set(words(counting, heading))):
            ours, theirs = scores(heading), oracle.get_scores(query)
            count = min(10, int((ours > 0).sum()))
            if count:
                shared.append(len(set(np.argsort(-ours)[:count]) & set(np.argsort(-theirs)[:count])) / count)
    assert np.mean(shared) > 0.97
