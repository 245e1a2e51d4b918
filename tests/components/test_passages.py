import copy
import pickle
from dataclasses import replace

import pytest
from haystack import Document, Pipeline, component
from haystack.components.joiners import DocumentJoiner
from haystack.components.rankers import LostInTheMiddleRanker
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.passages import Passages, passage_of

texts = st.lists(st.text(max_size=5), max_size=8)


@given(texts, texts)
def test_it_behaves_like_the_tuple_inside(left, right):
    a = Passages(Document(content=text) for text in left)
    b = Passages(Document(content=text) for text in right)

    assert [d.content for d in a + b] == left + right
    assert len(a) == len(left)
    assert list(a[1:]) == list(a)[1:]
    assert isinstance(a[:1], Passages)
    assert (a == b) == (left == right)


def test_a_copy_is_itself():
    passages = Passages([Document(content="a")])
    assert copy.deepcopy(passages) is passages
    assert copy.copy(passages) is passages
    assert {"documents": passages} == copy.deepcopy({"documents": passages})


def test_a_passage_is_the_document_that_its_class_makes():
    meta = {"source": "a.md", "tokens": 3}
    made, wanted = passage_of("7", "a b", 0.5, meta), Document(id="7", content="a b", score=0.5, meta=meta)
    assert made == wanted and made.to_dict() == wanted.to_dict() and repr(made) == repr(wanted)
    assert replace(made, score=1.0) == replace(wanted, score=1.0)
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == Document.from_dict(made.to_dict()) == wanted
    assert made.embedding is None and made.blob is None and made.sparse_embedding is None


def test_it_adds_to_a_list_from_both_sides():
    one, two = Document(content="1"), Document(content="2")
    assert list([one] + Passages([two])) == [one, two]
    assert list(Passages([one]) + [two]) == [one, two]


def test_it_can_not_be_changed_in_place():
    with pytest.raises(TypeError):
        Passages([Document(content="a")])[0] = Document(content="b")  # type: ignore[index]


@component
class Source:
    def __init__(self, ids: str):
        self.ids = ids

    @component.output_types(documents=list[Document])
    def run(self, query: str):
        return {"documents": Passages(Document(id=x, content=x, score=0.5) for x in self.ids)}


def test_components_of_haystack_take_it_as_documents():
    pipeline = Pipeline()
    pipeline.add_component("first", Source("ab"))
    pipeline.add_component("second", Source("bc"))
    pipeline.add_component("join", DocumentJoiner(join_mode="reciprocal_rank_fusion"))
    pipeline.add_component("ranker", LostInTheMiddleRanker())
    pipeline.connect("first.documents", "join.documents")
    pipeline.connect("second.documents", "join.documents")
    pipeline.connect("join.documents", "ranker.documents")

    result = pipeline.run({"query": "x"})

    assert {document.id for document in result["ranker"]["documents"]} == {"a", "b", "c"}


def test_it_survives_being_written_down():
    passages = Passages([Document(id="1", content="a", meta={"source": "x"}, score=0.5)])
    assert Passages.from_dict(passages.to_dict()) == passages
