"""Documents of other people's components: what they leave open fails no question and leaves no passage out."""

import math

import pytest
from haystack import Document

from ragsaver.components.document_values import said_of, score_of
from ragsaver.components.packer import ContextPacker
from ragsaver.components.rerank import ConditionalReranker
from ragsaver.pipelines.runtime import Runtime

QUESTION = "What do owls hunt at night?"


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, None])
@pytest.mark.parametrize("mode", ["always", "gated"])
def test_a_score_that_can_not_be_compared_is_none(runtime: Runtime, score: float | None, mode: str):
    given = [Document(content="Owls hunt voles at night.", score=score), Document(content="Bees dance.", score=1.0)]
    reranker, packer = ConditionalReranker(mode=mode), ContextPacker()
    for component in (reranker, packer):
        component.bind(runtime.resources)
    packed = packer.run(QUESTION, reranker.run(QUESTION, given)["documents"])["documents"]
    assert {one.content for one in packed} == {one.content for one in given}
    assert all(math.isfinite(worth) for one in packed for worth in one.meta["span_worth"])


def test_a_heading_that_is_none_is_no_word():
    document = Document(content="Owls", score=0.5, meta={"heading": None, "page": 0})
    assert (said_of(document, "heading"), said_of(document, "source"), said_of(document, "page")) == ("", "", "0")
    assert score_of(document) == 0.5
