"""What a question's stages decided is told for every passage, where it is asked for, and nowhere else."""

from haystack import Document

from ragsaver.components.explain import current_explanation, explaining


def passage(name: str, score: float = 0.0, **meta: object) -> Document:
    return Document(id=name, content=name, score=score, meta={"source": f"{name}.md", "heading": "h", **meta})


def test_nobody_writes_where_nobody_asked():
    with explaining(False) as explanation:
        assert explanation is None
        assert current_explanation() is None
    with explaining(True) as explanation:
        assert current_explanation() is explanation
    assert current_explanation() is None


def test_every_stage_adds_what_it_decided():
    with explaining(True) as explanation:
        assert explanation is not None
        carried = {"a": {"source": "a.md", "heading": "h"}, "b": {"source": "b.md", "heading": "h"}}
        fused = [("a", 0.9), ("b", 0.5), ("gone", 0.4)]
        explanation.fuse("minmax", fused, {"a": 0.7, "b": 0.6}, {"b": 9.0, "a": 3.0}, carried)
        explanation.leave_out("gone", "beyond the first 2")
        explanation.order([passage("a"), passage("b")])
        explanation.rerank = "asked: margins are small"
        folded = passage("a", 0.2, also_in=[{"source": "c.md", "heading": "h"}])
        explanation.order([passage("b", 0.95), folded], reranked=1)
        why = "other sentences are worth more of the 40 tokens"
        explanation.pack([passage("b"), folded], [passage("b", tokens=12)], [why, why])
    told = explanation.told()
    assert (told.fusion, told.rerank) == ("minmax", "asked: margins are small")
    a, b, gone = told.passages
    assert (a.dense.rank, a.dense.score, a.lexical.rank, a.lexical.score) == (1, 0.7, 2, 3.0)
    assert (a.rank, a.reranked_score, a.tokens, a.left_out) == (2, None, 0, why)
    assert [place.source for place in a.also_in] == ["c.md"]
    assert (b.rank, b.reranked_score, b.tokens, b.left_out) == (1, 0.95, 12, None)
    assert (gone.rank, gone.source, gone.dense, gone.left_out) == (None, "", None, "beyond the first 2")


def test_what_another_retriever_brought_is_told_without_legs():
    with explaining(True) as explanation:
        assert explanation is not None
        explanation.order([passage("own", 0.3)])
    (only,) = explanation.told().passages
    assert (only.source, only.dense, only.lexical, only.fused_score, only.rank) == ("own.md", None, None, 0.3, 1)
