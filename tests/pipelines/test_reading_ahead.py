"""What a server reads before it is asked, no question has to take apart."""

import threading

import pytest

from ragsaver.components.deduplicator import shingles
from ragsaver.components.passage_sentences import sentences
from ragsaver.components.request import Request
from ragsaver.errors import StorageError
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines import reading_ahead
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime

ISLES = 40


@pytest.fixture
def filled(runtime: Runtime) -> Runtime:
    texts = [
        PostedDocument(f"{n}.md", f"# Isle {n}\n\nBeacon {n} burns since {1800 + n}. Keeper{n} lit it.")
        for n in range(ISLES)
    ]
    runtime.ingestor.ingest_texts(texts, runtime.scope())
    sentences.cache_clear()
    shingles.cache_clear()
    return runtime


def taken_apart() -> tuple[int, int]:
    return sentences.cache_info().misses, shingles.cache_info().misses


def test_the_first_question_finds_all_taken_apart(filled: Runtime):
    assert reading_ahead.read_ahead(filled, threading.Event()) == ISLES
    before = taken_apart()
    assert before == (ISLES, ISLES)
    result = filled.engine().ask("Since when burns beacon 7?", Request(filled.reading(), caching="off"))
    assert result.answer and "1807" in result.answer
    assert taken_apart() == before


def test_what_is_kept_of_tokens_is_at_hand_too(filled: Runtime, monkeypatch: pytest.MonkeyPatch):
    reading_ahead.read_ahead(filled, threading.Event())
    asked: list[str] = []
    monkeypatch.setattr(type(filled.resources.embeddings), "get", lambda *given: asked.extend(given[2]) or {})
    filled.engine().ask("Since when burns beacon 7?", Request(filled.reading(), caching="off"))
    assert not asked
    filled.resources.reranking.tokens.forget()
    filled.engine().ask("Since when burns beacon 7?", Request(filled.reading(), caching="off"))
    assert asked, "otherwise nothing would have been looked for"


def test_a_collection_that_is_not_remembered_is_not_read(filled: Runtime, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading_ahead, "REMEMBERED", ISLES - 1)
    assert reading_ahead.read_ahead(filled, threading.Event()) == 0
    assert taken_apart() == (0, 0)


def test_it_ends_when_it_is_told_to(filled: Runtime):
    stopping = threading.Event()
    stopping.set()
    assert 0 < reading_ahead.read_ahead(filled, stopping) < ISLES


def test_a_server_reads_while_it_serves_and_a_failing_index_does_not_stop_it(filled: Runtime, monkeypatch, caplog):
    done = threading.Event()
    read = reading_ahead.read_ahead

    def reading(*given):
        read(*given)
        done.set()

    monkeypatch.setattr(reading_ahead, "read_ahead", reading)
    with reading_ahead.reading_ahead(LiveRuntime(filled)):
        assert done.wait(30)
    assert taken_apart() == (ISLES, ISLES)

    def failing(*given):
        done.set()
        raise StorageError("the disk is gone")

    done.clear()
    monkeypatch.setattr(reading_ahead, "read_ahead", failing)
    with reading_ahead.reading_ahead(LiveRuntime(filled)):
        assert done.wait(30)
    assert "the disk is gone" in caplog.text
