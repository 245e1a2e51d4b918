"""However a passage that was found comes to be left out, the explanation says why."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.places import find_pipeline
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings

QUESTION = "What do owls hunt?"
TEXTS = ("Owls hunt voles at night.", "Owls hunt mice in barns, too.", "Owls sleep by day.")


def why(runtime: Runtime, pipeline: str | None = None, question: str = QUESTION) -> dict[str, str | None]:
    """Of each passage, by source; what is left out has no place, and what is not has one."""
    documents = [PostedDocument(f"{n}.md", text, "text") for n, text in enumerate(TEXTS)]
    runtime.ingestor.ingest_texts(documents, runtime.scope())
    told = runtime.engine(pipeline).ask(question, explain=True).debug
    assert told is not None
    assert all(one.left_out or (one.rank and one.tokens) for one in told.passages)
    return {one.source: one.left_out for one in told.passages}


def edited(folder: Path, *changes: tuple[str, str]) -> None:
    """`mine.yaml`: the shipped pipeline with changes."""
    folder.mkdir()
    text = find_pipeline("query", folder).read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (folder / "mine.yaml").write_text(text)


def test_a_document_that_goes_between_the_search_and_the_reading(runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    index, find = runtime.index, runtime.index.search

    def meanwhile(*asked: Any, **more: Any) -> Any:
        found = find(*asked, **more)
        index.list_and_delete(runtime.scope(), [], [found.dense[0].id])
        return found

    monkeypatch.setattr(index, "search", meanwhile)
    left_out = why(runtime)
    assert left_out[""] == "it was deleted a moment ago", "its source is not there to be told any more"
    assert sorted(left_out.values(), key=str) == [None, None, "it was deleted a moment ago"]


def test_one_that_a_component_of_somebody_else_takes_out(runtime: Runtime):
    ranker = "  ranker: {type: haystack.components.rankers.lost_in_the_middle.LostInTheMiddleRanker, init_parameters: {top_k: 2}}\n"
    lines = ("{sender: retriever.documents, receiver: %s}", "{sender: ranker.documents, receiver: packer.documents}")
    edited(
        runtime.settings.pipelines_dir,
        ("  packer: #", f"{ranker}  packer: #"),
        (lines[0] % "packer.documents", f"{lines[0] % 'ranker.documents'}\n  - {lines[1]}"),
    )
    assert sorted(why(runtime, "mine").values(), key=str) == [
        None,
        None,
        "a component in front of the packer took it out",
    ]


@pytest.mark.parametrize(
    ("budget", "reasons"),
    [
        (1, ["not one sentence fits into 1 tokens with its heading"] * 3),
        (
            12,
            [
                None,
                "other sentences are worth more of the 12 tokens",
                "other sentences are worth more of the 12 tokens",
            ],
        ),
    ],
)
def test_what_a_small_budget_has_no_room_for(runtime: Runtime, budget: int, reasons: Sequence[str | None]):
    packer = "ragsaver.components.packer.ContextPacker\n    init_parameters: {}"
    edited(runtime.settings.pipelines_dir, (packer, packer.replace("{}", f"{{budget_tokens: {budget}}}")))
    assert sorted(why(runtime, "mine").values(), key=str) == reasons
    told = runtime.engine("mine").ask(QUESTION)
    if any(one is None for one in reasons):
        assert told.answer is not None
    else:
        assert told.answer is None and "no sentence of the 3 passages found fits" in told.reason
        assert "context.budget_tokens" in told.reason


@pytest.mark.parametrize("kind", ["retriever.HybridRetriever", "lexical_retriever.LexicalRetriever"])
@pytest.mark.parametrize(("least", "stay"), [(1, 1), (3, 3)])
@pytest.mark.parametrize("of_pipeline", [False, True], ids=["of the settings", "of the pipeline"])
def test_what_falls_off_behind_the_best_but_for_the_least_that_is_kept(
    tmp_path: Path, kind: str, least: int, stay: int, of_pipeline: bool
):
    usual = "retriever.HybridRetriever\n    init_parameters: {}"
    edited(
        tmp_path / "pipelines",
        (usual, f"{kind}\n    init_parameters: {{{f'fall_off: 0.9, least: {least}' if of_pipeline else ''}}}"),
    )
    settings: dict[str, Any] = {"home": tmp_path / "home", "pipelines_dir": tmp_path / "pipelines"}
    if not of_pipeline:
        settings["retrieval"] = {"fall_off": 0.9, "least": least}
    with open_runtime(Settings.model_validate(settings), "a test") as runtime:
        left_out = list(why(runtime, "mine", "What do owls hunt at night: voles?").values())
    assert left_out == [None] * stay + ["its score is below 0.9 of the best one's"] * (3 - stay)
