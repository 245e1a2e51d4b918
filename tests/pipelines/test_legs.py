"""The engine fuses where nothing of a pipeline looks at what each leg thought of a passage, and nowhere else."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ragsaver.components.blending import blend_of
from ragsaver.components.fusion import Fusion
from ragsaver.components.request import Request
from ragsaver.components.retriever import HybridRetriever
from ragsaver.errors import PipelineError
from ragsaver.index.edge_searches import SearchedShard
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.loader import load_pipeline
from ragsaver.pipelines.places import find_pipeline
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import RetrievalSettings, Settings
from tests.commands import as_json

QUESTION = "What do owls hunt at night?"
ANIMALS = ("Owls", "Foxes", "Badgers", "Martens", "Lynxes", "Bats")
RETRIEVER = "  retriever: {type: ragsaver.components.retriever.HybridRetriever, init_parameters: {%s}}\n"
TO_PROMPT = """  prompt_builder: {type: ragsaver.components.prompt_builder.PromptBuilder, init_parameters: {}}
connections: [{sender: retriever.documents, receiver: prompt_builder.documents}]
"""
SORTED = """  sorter: {type: haystack.components.rankers.meta_field.MetaFieldRanker, init_parameters: {meta_field: %s}}
connections: [{sender: retriever.documents, receiver: sorter.documents}]
"""
TO_PACKER = """  filter: {type: ragsaver.components.deduplicator.NearDuplicateFilter, init_parameters: {}}
  packer: {type: ragsaver.components.packer.ContextPacker, init_parameters: {}}
connections:
  - {sender: retriever.documents, receiver: filter.documents}
  - {sender: filter.documents, receiver: packer.documents}
"""


@contextmanager
def filled(folder: Path, *, mode: str | None = None, **retrieval: Any) -> Iterator[Runtime]:
    """A runtime with some passages.

    :param mode: of reranking.
    """
    settings = Settings.model_validate(
        {"home": folder / "home", "retrieval": {"fusion": "dbsf", **retrieval}, "rerank": {"mode": mode}}
    )
    with open_runtime(settings, "a test") as runtime:
        # no two are as long: passages that BM25 scores alike have ranks that an engine deals out as it likes
        texts = [f"{animal} hunt voles at night{', or mice' * n}." for n, animal in enumerate(ANIMALS)]
        documents = [PostedDocument(f"{n}.md", text, "text") for n, text in enumerate(texts)]
        runtime.ingestor.ingest_texts(documents, runtime.scope())
        yield runtime


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the index was asked, call by call."""
    calls: list[str] = []

    def noting(name: str, really: Any) -> Any:
        def noted(*given: Any, **more: Any) -> Any:
            calls.append(name)
            return really(*given, **more)

        return noted

    for name in ("search", "blended"):
        monkeypatch.setattr(SearchedShard, name, noting(name, getattr(SearchedShard, name)))
    return calls


@pytest.mark.parametrize("fusion", ["rrf", "dbsf"])
@pytest.mark.parametrize("weight", [0.5, 0.55])
def test_a_search_is_fused_in_the_engine_and_finds_the_same(
    tmp_path: Path, asked: list[str], fusion: str, weight: float
):
    found = []
    for where in ("auto", "here"):
        with filled(tmp_path / where, fusion=fusion, lexical_weight=weight, fuse_in=where, fall_off=0.3) as runtime:
            found.append(runtime.engine().search(QUESTION).passages)
    assert asked == ["blended", "search"]
    assert [one.text for one in found[0]] == [one.text for one in found[1]] and len(found[0]) == len(ANIMALS)
    assert [one.score for one in found[0]] == pytest.approx([one.score for one in found[1]], abs=1e-5)


def test_an_explanation_an_answer_and_other_ways_to_fuse_want_the_legs(tmp_path: Path, asked: list[str]):
    with filled(tmp_path) as runtime:
        told = runtime.engine().search(QUESTION, explain=True).debug
        runtime.engine().ask(QUESTION)
    assert asked == ["search", "search"] and all(one.dense and one.lexical for one in told.passages)
    with filled(tmp_path, fusion="minmax") as runtime:
        runtime.engine().search(QUESTION)
    assert asked == ["search"] * 3


@pytest.mark.parametrize(("mode", "call"), [(None, "blended"), ("always", "blended"), ("gated", "search")])
def test_the_gate_of_a_search_wants_the_legs_where_the_settings_want_a_gate(
    tmp_path: Path, asked: list[str], mode: str | None, call: str
):
    with filled(tmp_path, mode=mode) as runtime:
        receipt = runtime.engine().search(QUESTION).receipt
    assert asked == [call] and any(line.stage == "rerank" for line in receipt.lines) == (mode is not None)


def test_what_a_search_found_without_legs_is_not_kept_for_an_answer(tmp_path: Path, asked: list[str]):
    with filled(tmp_path) as runtime:
        request = Request(runtime.reading())
        runtime.engine().search(QUESTION, request)
        runtime.engine().search(QUESTION, request)
        assert asked == ["blended"], "the second was kept"
        runtime.engine().ask(QUESTION, request)
        assert asked == ["blended", "search"]


@pytest.mark.parametrize("question", ["quetzalcoatlus?", "Zzyzx"])
def test_a_question_of_unknown_words_is_asked_again_for_its_legs(tmp_path: Path, asked: list[str], question: str):
    found = []
    for where in ("auto", "here"):
        with filled(tmp_path / where, fuse_in=where) as runtime:
            found.append(runtime.engine().search(question).passages)
    assert asked == ["blended", "search", "search"] and found[0] == found[1]


def test_where_too_many_say_the_same_the_rest_is_looked_for(tmp_path: Path, asked: list[str]):
    settings = Settings.model_validate({"home": tmp_path / "home", "retrieval": {"fusion": "dbsf"}})
    with open_runtime(settings, "a test") as runtime:
        same = [PostedDocument(f"copy{n}.md", "Owls hunt voles at night.", "text") for n in range(14)]
        other = PostedDocument("other.md", "The office issues permits for fishing by day.", "text")
        runtime.ingestor.ingest_texts([*same, other], runtime.scope())
        found = runtime.engine().search(QUESTION, top_k=2).passages
    assert asked == ["blended", "search"] and [one.text for one in found] == [
        "Owls hunt voles at night.",
        "The office issues permits for fishing by day.",
    ]


def loaded(folder: Path, parameters: str, rest: str, runtime: Runtime | None = None) -> HybridRetriever:
    file = folder / "mine.yaml"
    file.write_text("components:\n" + RETRIEVER % parameters + rest)
    retriever = load_pipeline(file, runtime.resources if runtime else None).get_component("retriever")
    assert isinstance(retriever, HybridRetriever)
    return retriever


@pytest.mark.parametrize(
    ("rest", "call"),
    [
        ("connections: []\n", "blended"),
        (TO_PROMPT, "blended"),
        (SORTED % "ordinal", "blended"),
        (SORTED % "dense_score", "search"),
        (TO_PACKER, "search"),
    ],
    ids=["nothing", "a prompt", "a field", "a leg", "behind a filter the packer"],
)
def test_what_is_behind_the_retriever_decides(tmp_path: Path, asked: list[str], rest: str, call: str):
    with filled(tmp_path) as runtime:
        found = loaded(tmp_path, "", rest, runtime).run(QUESTION)["documents"]
    assert asked == [call]
    assert {one.meta["dense_score"] is None for one in found} == {call == "blended"}


def test_a_pipeline_s_own_word_counts_unless_something_of_ragsaver_s_looks(tmp_path: Path, asked: list[str]):
    with filled(tmp_path) as runtime:
        loaded(tmp_path, "fuse_in: here", "connections: []\n", runtime).run(QUESTION)
        loaded(tmp_path, "fuse_in: engine", SORTED % "dense_score", runtime).run(QUESTION)
    assert asked == ["search", "blended"]
    with pytest.raises(PipelineError, match=r"mine.yaml:2: `packer` looks at the scores of each leg"):
        loaded(tmp_path, "fuse_in: engine", TO_PACKER)
    with pytest.raises(PipelineError, match="fuse_in"):
        loaded(tmp_path, "fuse_in: there", "connections: []\n")


@pytest.mark.parametrize("name", ["query", "reranked", "outlined"])
def test_the_shipped_pipelines_look_at_the_legs_and_search_does_not(tmp_path: Path, name: str):
    assert load_pipeline(find_pipeline(name, tmp_path)).get_component("retriever")._legs_are_read
    assert not load_pipeline(find_pipeline("search", tmp_path)).get_component("retriever")._legs_are_read


@pytest.mark.parametrize(
    ("retrieval", "told"),
    [
        ({}, "query, search here (no engine knows minmax)"),
        ({"fusion": "rrf"}, "query here (the scores of each leg are looked at); search in the engine"),
        ({"fusion": "dbsf", "lexical_weight": 1.0}, "query, search here (the engine can't with a BM25 share of 1)"),
        ({"fusion": "dbsf", "fuse_in": "here"}, "query, search here (`fuse_in: here`)"),
        (
            {"fusion": "rrf", "feedback_passages": 3},
            "query, search here (`retrieval.feedback_passages` needs the scores of each leg)",
        ),
    ],
)
def test_doctor_tells_where_legs_are_fused_and_why(tmp_path: Path, retrieval: dict[str, Any], told: str):
    file = tmp_path / "ragsaver.yaml"
    file.write_text(json.dumps({"retrieval": retrieval}))
    (row,) = (one for one in as_json(tmp_path, "doctor")["checks"] if one["check"] == "fusion")
    assert (row["ok"], row["detail"]) == (True, told)


@pytest.mark.parametrize("engine", ["edge", "qdrant"])
def test_what_is_told_is_what_is_done(engine: str, tmp_path: Path):
    index = {"engine": engine, "url": f"file:{tmp_path / 'points'}"} if engine == "qdrant" else {}
    retriever = HybridRetriever()
    retriever.leave_legs()
    with open_runtime(Settings.model_validate({"home": tmp_path / "home", "index": index}), "a test") as runtime:
        for fusion, weight in product(Fusion, (0.0, 0.5, 0.55, 1.0)):
            retrieval = RetrievalSettings(fusion=fusion.value, lexical_weight=weight)
            told = retriever.why_here(runtime.settings.model_copy(update={"retrieval": retrieval}))
            assert (told is None) == (blend_of(runtime.index, fusion, weight, retrieval) is not None), (fusion, weight)


def test_a_retriever_that_nobody_told_gives_the_legs(tmp_path: Path, asked: list[str]):
    with filled(tmp_path) as runtime:
        retriever = HybridRetriever()
        retriever.bind(runtime.resources)
        assert all(one.meta["dense_score"] is not None for one in retriever.run(QUESTION)["documents"])
    assert asked == ["search"]
    with pytest.raises(ValueError, match="fuse_in must be one of auto, here, engine"):
        HybridRetriever(fuse_in="there")  # type: ignore[arg-type]
