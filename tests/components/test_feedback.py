"""Where the legs disagree, the best passages' vectors lead to their neighbours; where they agree, nobody searches twice."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ragsaver.components.feedback import nearer
from ragsaver.components.fusion import fuse
from ragsaver.components.request import Request
from ragsaver.components.retriever import HybridRetriever
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.protocol import ChunkPoint
from ragsaver.index.scope import Scope
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.runtime import open_runtime
from ragsaver.settings import RetrievalSettings, Settings

SCOPE = Scope("acme", "birds")
# The question, what its words find, what stands beside that and far from the question, and something else.
QUESTION, WORDS, BESIDE, OTHER = (f"00000000-0000-0000-0000-00000000000{n}" for n in (1, 2, 3, 4))
CANDIDATES = 2


def unit(*numbers: float) -> NDArray[np.float32]:
    vector = np.array(numbers, dtype=np.float32)
    return vector / np.linalg.norm(vector)


VECTORS = {WORDS: unit(0.6, 0.8, 0), BESIDE: unit(0.5, 0.866, 0), OTHER: unit(0.7, 0, 0.71)}
TEXTS = {WORDS: "the parrot eats seeds", BESIDE: "a cockatoo", OTHER: "trains"}
ASKED = unit(1, 0, 0)
ON = RetrievalSettings(feedback_passages=3)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[EdgeIndex]:
    index = EdgeIndex(tmp_path, IndexIdentity("model", "model", 3, "english", 5.0))
    for scope, shown in ((SCOPE, list(VECTORS)), (Scope("other", "birds"), [])):
        put(index, scope, shown)
    yield index
    index.close()


def put(index: EdgeIndex, scope: Scope, ids: Sequence[str]) -> None:
    index.upsert(scope, [ChunkPoint(one, one, VECTORS[one], TEXTS[one], {"text": TEXTS[one]}) for one in ids])
    index.list_and_delete(scope, ids, [])


def again(index: EdgeIndex, text: str, settings: RetrievalSettings | None = None) -> dict[str, float] | None:
    dense, lexical = index.search(SCOPE, text, ASKED, CANDIDATES).scores()
    fused = fuse(dense, lexical, 0.9)
    moved = nearer(index, SCOPE, ASKED, fused, (dense, lexical), settings or ON)
    return None if moved is None else index.search(SCOPE, "", moved, CANDIDATES).scores()[0]


def test_what_stands_beside_the_best_passage_is_found(index: EdgeIndex) -> None:
    assert [hit.id for hit in index.search(SCOPE, "parrot", ASKED, CANDIDATES).dense] == [OTHER, WORDS]
    found = again(index, "parrot", RetrievalSettings(feedback_passages=1, feedback_weight=3))
    assert found is not None
    assert list(found) == [WORDS, BESIDE]
    moved = ASKED + 3 * VECTORS[WORDS]
    assert found[BESIDE] == pytest.approx(float(moved @ VECTORS[BESIDE] / np.linalg.norm(moved)), abs=1e-4)


def test_better_passages_count_more(index: EdgeIndex) -> None:
    # the first two are WORDS, by far, and OTHER; their mean would lead to neither's neighbour
    found = again(index, "parrot", RetrievalSettings(feedback_passages=2, feedback_weight=3))
    assert found is not None
    assert list(found) == [WORDS, BESIDE]


def test_legs_that_agree_are_not_asked_twice(index: EdgeIndex) -> None:
    assert again(index, "trains") is None


def test_it_is_off_by_default(index: EdgeIndex) -> None:
    assert again(index, "parrot") is not None
    assert again(index, "parrot", RetrievalSettings(feedback_passages=3, feedback_weight=0)) is None
    assert again(index, "parrot", RetrievalSettings()) is None


def test_passages_that_have_just_been_deleted_lead_nowhere(index: EdgeIndex) -> None:
    gone = ([("00000000-0000-0000-0000-000000000009", 1.0)], ({}, {}))
    assert nearer(index, SCOPE, ASKED, *gone, ON) is None


def test_words_that_nothing_has_are_no_reason_to_stay_with_the_first_answer(index: EdgeIndex) -> None:
    assert again(index, "xylophone") is not None


def test_an_explanation_says_whether_it_was_asked_again(tmp_path: Path) -> None:
    texts = ("The engine of the car burns petrol, its fuel.", "Xyzzy is the name of a restaurant.", "Trains are late.")
    documents = [PostedDocument(f"{n}.txt", text, "text", {}) for n, text in enumerate(texts)]
    with open_runtime(Settings(home=tmp_path, retrieval=ON), "a test") as runtime:
        runtime.ingestor.ingest_texts(documents, runtime.scope())

        def told(question: str) -> str:
            debug = runtime.engine().search(question, Request(runtime.scope()), explain=True).debug
            assert debug is not None
            return debug.fusion

        assert "asked again nearer to the first 3" in told("What does the motor of xyzzy burn?")
        assert "asked again" not in told("What is the name of the restaurant?")


@pytest.mark.parametrize(
    ("given", "passages", "share"),
    [
        ({}, 2, 0.5),
        ({"retrieval": {"feedback_passages": 0}}, 0, 0.5),
        ({"retrieval": {"lexical_weight": 0.55}}, 2, 0.55),
        ({"retrieval": {"fusion": "rrf"}}, 0, 0.55),
        ({"embedding": {"model": "another"}}, 0, 0.55),
        ({"rerank": {"gate": "asked-again"}}, 2, 0.5),
        ({"rerank": {"gate": "tuned.json"}}, 0, 0.55),
    ],
)
def test_a_thorough_retriever_asks_again_unless_the_settings_say_whether_to_or_nobody_has_measured_it(
    given: dict[str, object], passages: int, share: float
) -> None:
    settings = Settings.model_validate(given)
    told = HybridRetriever(thorough=True).settings_of(settings)
    assert (told.feedback_passages, told.lexical_weight) == (passages, share)
    assert HybridRetriever().settings_of(settings) == settings.retrieval
