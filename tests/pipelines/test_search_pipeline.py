"""A search gives, and explains, what the answers of a pipeline that reranks are made from; others' is as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.places import find_pipeline
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app
from ragsaver.settings import Settings
from ragsaver.spend.tables import entries
from tests.rerank_server import Script, rerank_server

QUESTION = "What do owls hunt at night?"
SHORT, LONG, LONGEST = (
    "Owls hunt voles at night.",
    "The office issues permits for fishing, which nobody may do at night in winter.",
    "Parrots eat forty grams of seeds a day, sleep, and hunt for nuts and for fruit in the tops of the trees.",
)


@contextmanager
def searched(folder: Path, pipeline: str = "reranked", **rerank: object) -> Iterator[tuple[Runtime, Script]]:
    """A runtime whose reranker takes the longest passage for the best."""
    with rerank_server(script := Script()) as url:
        settings = {
            "home": folder / "home",
            "pipelines_dir": folder / "pipelines",
            "query": {"pipeline": pipeline},
            "server": {"allowed_hosts": ["testserver"]},
            "rerank": {
                "mode": "always",
                "backend": "remote",
                "url": url,
                "deadline_ms": 60_000,
                "usd_per_1k_calls": 0,
                "weight": 1,
                **rerank,
            },
        }
        with open_runtime(Settings.model_validate(settings), "a test") as runtime:
            documents = [PostedDocument(f"{n}.md", text, "text") for n, text in enumerate((SHORT, LONG, LONGEST))]
            runtime.ingestor.ingest_texts(documents, runtime.scope())
            yield runtime, script


def test_a_search_of_a_pipeline_that_reranks_gives_and_explains_what_its_answers_are_made_from(tmp_path: Path):
    with searched(tmp_path) as (runtime, script):
        found = runtime.engine().search(QUESTION, top_k=2, explain=True)
        plain = runtime.engine().search(QUESTION, top_k=2)
    assert [one.text for one in found.passages] == [LONGEST, LONG] and plain.passages == found.passages
    assert found.debug.rerank == "reranked: always reranked"
    told = {one.source: one for one in found.debug.passages}
    assert [told[name].rank for name in ("2.md", "1.md", "0.md")] == [1, 2, None]
    assert all(one.reranked_score is not None for one in told.values())
    assert told["0.md"].left_out == "beyond the first 2" and told["0.md"].fused_rank == 1
    assert told["2.md"].tokens + told["1.md"].tokens > 0
    assert [line.item for line in found.receipt.lines if line.stage == "rerank"]
    assert len(script.requests) == 2


def test_the_only_passage_that_is_wanted_is_the_best_of_those_that_an_answer_would_have(tmp_path: Path):
    with searched(tmp_path) as (runtime, _):
        assert [one.text for one in runtime.engine().search(QUESTION, top_k=1).passages] == [LONGEST]


@pytest.mark.parametrize("pipeline", ["query", "reranked"])
def test_a_search_that_is_not_to_be_reranked_stays_as_it_was(tmp_path: Path, pipeline: str):
    with searched(tmp_path, pipeline, mode="never") as (runtime, script):
        found = runtime.engine().search(QUESTION, explain=True)
    assert found.passages[0].text == SHORT
    assert (found.debug.rerank, script.requests) == ("not asked: it is off", [])


def test_a_search_is_reranked_as_the_settings_say_though_answers_are_not(tmp_path: Path):
    with searched(tmp_path, "query") as (runtime, script):
        assert runtime.engine().search(QUESTION).passages[0].text == LONGEST
        asked = len(script.requests)
        runtime.engine().ask(QUESTION)
    assert len(script.requests) == asked == 1


def test_where_nothing_is_set_a_search_looks_twice_and_asks_the_gate_and_an_answer_does_neither(tmp_path: Path):
    with open_runtime(Settings.model_validate({"home": tmp_path}), "a test") as runtime:
        documents = [PostedDocument(f"{n}.md", text, "text") for n, text in enumerate((SHORT, LONG, LONGEST))]
        runtime.ingestor.ingest_texts(documents, runtime.scope())
        found = runtime.engine().search("Who may fish, and what do parrots hunt?", explain=True)
        answer = runtime.engine().ask(QUESTION, explain=True)
        retriever = runtime.engine()._search.pipeline.get_component("retriever")
        assert retriever.settings_of(runtime.settings).feedback_passages == 2
        decisions = runtime.resources.reranking.watch.decisions()
    assert "a chance of" in found.debug.rerank and sum(decisions.values()) == 1
    assert answer.debug.rerank is None


def test_a_search_yaml_that_names_a_reranker_says_itself_when(tmp_path: Path):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "search.yaml").write_text(
        "components:\n"
        "  retriever: {type: ragsaver.components.retriever.HybridRetriever, init_parameters: {}}\n"
        "  reranker: {type: ragsaver.components.rerank.ConditionalReranker, init_parameters: {mode: never}}\n"
        "connections: [{sender: retriever.documents, receiver: reranker.documents}]\n"
    )
    with searched(tmp_path) as (runtime, script):
        found = runtime.engine().search(QUESTION, explain=True)
    assert found.passages[0].text == SHORT
    assert (found.debug.rerank, script.requests) == ("not asked: it is off", [])


def test_copies_that_a_filter_drops_are_told_behind_the_reranker(tmp_path: Path):
    (tmp_path / "pipelines").mkdir()
    shipped = find_pipeline("reranked", tmp_path / "pipelines").read_text()
    between = shipped.replace(
        "  packer: #",
        "  filter: {type: ragsaver.components.deduplicator.NearDuplicateFilter, init_parameters: "
        "{contained_at_least: 0.3}}\n  packer: #",
    ).replace(
        "  - {sender: reranker.documents, receiver: packer.documents}",
        "  - {sender: reranker.documents, receiver: filter.documents}\n"
        "  - {sender: filter.documents, receiver: packer.documents}",
    )
    (tmp_path / "pipelines" / "mine.yaml").write_text(between)
    with searched(tmp_path, "mine") as (runtime, _):
        half = " ".join(LONGEST.split()[:11])  # not as much as the retriever folds
        more = PostedDocument(
            "copy.md", f"{half}, as the keepers of the park have told us for years and years.", "text"
        )
        runtime.ingestor.ingest_texts([more], runtime.scope())
        found = runtime.engine().search(QUESTION, explain=True)
    told = {one.source: one for one in found.debug.passages}
    assert found.debug.rerank == "reranked: always reranked"
    assert told["2.md"].left_out == "says the same as copy.md" and told["2.md"].rank is None
    assert [place.source for place in told["copy.md"].also_in] == ["2.md"]
    assert told["2.md"].reranked_score is not None


def test_what_the_reranker_of_a_search_costs_is_charged(tmp_path: Path):
    with searched(tmp_path, usd_per_1k_calls=2) as (runtime, _):
        receipt = runtime.engine().search(QUESTION).receipt
        with runtime.resources.till.ledger.database.reading() as connection:
            charged = connection.execute(sa.select(entries.c.task, entries.c.cost)).all()
    assert receipt.cost_usd == Decimal("0.002") and [tuple(one) for one in charged] == [("rerank", 2000)]


def test_debug_over_rest_tells_the_verdict(tmp_path: Path):
    with searched(tmp_path) as (runtime, _):
        access = Access(LiveRuntime(runtime), "token")
        with TestClient(create_app(access)) as client:
            told = client.post("/v1/search", json={"query": QUESTION, "debug": True}).json()
        access.close()
    assert told["debug"]["rerank"] == "reranked: always reranked"
    assert told["passages"][0]["text"] == LONGEST
