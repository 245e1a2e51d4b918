"""An answer that other code gave is not given again: a process reads once which code it runs."""

import importlib
from pathlib import Path

import haystack
import pytest
from haystack.components.joiners.document_joiner import DocumentJoiner

from ragsaver.components.retriever import HybridRetriever
from ragsaver.pipelines.code_in_use import code_of
from tests.commands import as_json

GENERATOR = """
from haystack import component
from haystack.dataclasses import ChatMessage

from house.words import WORD


@component
class Ours:
    @component.output_types(replies=list[ChatMessage])
    def run(self, messages: list[ChatMessage], generation_kwargs: dict | None = None):
        return {"replies": [ChatMessage.from_assistant(f"{WORD} [1].", meta={"finish_reason": "stop"})]}
"""
SETTINGS = """
generation:
  extractive_first: false
  models: [{name: ours, generator: {type: house.generator.Ours, output_limit: most_tokens}}]
spend:
  prices: {ours: {input_per_mtok: 1, output_per_mtok: 10}}
"""


def house(folder: Path, word: str) -> None:
    package = folder / "house"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("")
    (package / "generator.py").write_text(GENERATOR)
    (package / "words.py").write_text(f'WORD = "{word}"\n')


def test_a_change_in_a_generator_s_own_package_makes_other_answers(tmp_path: Path):
    (tmp_path / "ragsaver.yaml").write_text(SETTINGS)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "owls.md").write_text("# Owls\n\nOwls hunt voles at night in the meadow.")
    house(tmp_path, "Night")
    as_json(tmp_path, "ingest", "docs")

    def asked() -> tuple[str, str]:
        result = as_json(tmp_path, "ask", "When do owls hunt voles?")
        return result["answer"], result["route"]["cache"]

    assert [asked(), asked()] == [("Night [1].", "miss"), ("Night [1].", "hit")]
    house(tmp_path, "Midnight")
    assert [asked(), asked()] == [("Midnight [1].", "miss"), ("Midnight [1].", "hit")]


def test_of_an_installed_package_the_version_counts_and_of_ragsaver_s_own_nothing():
    assert code_of([DocumentJoiner]) == [f"haystack-ai {haystack.version.__version__}"]
    assert code_of([HybridRetriever, dict]) == []


def test_what_a_class_is_derived_from_counts_and_what_was_written_since_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "ancestors_of_ours.py").write_text("class Base:\n    word = 1\n")
    (tmp_path / "ours_derived.py").write_text("from ancestors_of_ours import Base\n\n\nclass Derived(Base): ...\n")
    (tmp_path / "beside_ours.py").write_text("")
    derived = importlib.import_module("ours_derived").Derived
    before = code_of([derived])
    assert len(before) == 2  # not what lies beside
    (tmp_path / "ancestors_of_ours.py").write_text("class Base:\n    word = 2\n")
    assert code_of([derived]) == before
