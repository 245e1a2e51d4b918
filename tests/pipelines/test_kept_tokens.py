"""What the model read of passages when they were embedded serves the questions about them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragsaver.caching.embeddings import TOKENS_FILE, SqliteEmbeddingCache
from ragsaver.components.request import Request
from ragsaver.errors import StorageError
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.models.onnx_encoder import OnnxEncoder
from ragsaver.pipelines.result import AskResult
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings
from tests.model_runs import tell_runs

CLINIC = "# Clinic\n\nThe station opened early. A doctor for small children works there. Tickets cost four pounds.\n"
QUESTION = "Which physician treats kids?"
BY_TOKENS, BY_WORDS = "by words and tokens", "budget 400"


def opened(home: Path, **wanted: object) -> Runtime:
    cache = {"answers": "off", "retrieval": False}
    return open_runtime(
        Settings.model_validate({"home": home, "pipelines_dir": home, "cache": cache, **wanted}), "a test"
    )


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Texts that the model reads, questions left out."""
    read: list[str] = []
    tell_runs(lambda texts, query: read.extend(() if query else texts), monkeypatch.setattr)
    return read


def ask(runtime: Runtime, tenant: str | None = None) -> AskResult:
    return runtime.engine().ask(QUESTION, Request(runtime.scope(tenant=tenant)))


def packed(result: AskResult) -> str:
    (line,) = [one for one in result.receipt.lines if one.item == "context packed"]
    return line.reason


def post(runtime: Runtime, tenant: str | None = None) -> None:
    runtime.ingestor.ingest_texts([PostedDocument("clinic.md", CLINIC)], runtime.scope(tenant=tenant))


def test_by_default_sentences_are_matched_by_tokens_and_nothing_is_read_for_it(tmp_path: Path, runs: list[str]) -> None:
    with opened(tmp_path) as runtime:
        post(runtime)
        embedded = list(runs)
        assert len(embedded) == 1
        result = ask(runtime)
        assert packed(result).endswith(BY_TOKENS)
        assert runs == embedded
    with opened(tmp_path) as runtime:  # and by another process
        assert packed(ask(runtime)).endswith(BY_TOKENS)
        assert runs == embedded


def test_a_search_whose_passages_were_kept_is_reranked_without_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with opened(tmp_path, rerank={"mode": "always"}, cache={"answers": "off"}) as runtime:
        post(runtime)
        runtime.ingestor.ingest_texts([PostedDocument("b.md", "Kids see a physician by day.")], runtime.scope())
        tell_runs(lambda texts, query: asked.extend(texts if query else ()), monkeypatch.setattr)
        found = [runtime.engine().search(QUESTION, Request(runtime.scope())) for _ in range(2)]
    told = [{line.item: line.reason for line in one.receipt.lines} for one in found]
    assert "found before" in told[1]["hybrid search"] and found[0].passages == found[1].passages
    assert [len(one.passages) for one in found] == [2, 2] and asked == [QUESTION]


def test_a_question_is_run_once_for_its_vector_and_its_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    with opened(tmp_path, rerank={"mode": "always"}, query={"pipeline": "reranked"}) as runtime:
        post(runtime)
        runtime.ingestor.ingest_texts([PostedDocument("b.md", "Kids see a physician by day.")], runtime.scope())
        tell_runs(lambda texts, query: asked.extend(texts if query else ()), monkeypatch.setattr)
        first = ask(runtime)
        assert asked == [QUESTION]
        again = ask(runtime)
        assert asked == [QUESTION], "both are kept with each other"
        assert packed(first) == packed(again) and packed(again).endswith(BY_TOKENS)
        decided = [line.reason for line in again.receipt.lines if line.stage == "rerank"]
        assert decided == ["reranked: always reranked"]


def test_what_was_not_kept_is_read_once_and_kept_from_then_on(tmp_path: Path, runs: list[str]) -> None:
    with opened(tmp_path, embedding_cache={"tokens_mb": 0}) as runtime:
        post(runtime)
        assert packed(ask(runtime)).endswith(BY_WORDS)
        assert not (tmp_path / TOKENS_FILE).exists()
    embedded = list(runs)
    with opened(tmp_path) as runtime:
        assert packed(ask(runtime)).endswith(BY_TOKENS)
        assert runs == embedded * 2, "as it was embedded, with its headings"
    with opened(tmp_path) as runtime:
        assert packed(ask(runtime)).endswith(BY_TOKENS)
        assert runs == embedded * 2


def test_words_decide_where_they_are_asked_to(tmp_path: Path) -> None:
    with opened(tmp_path, context={"match": "words"}) as runtime:
        post(runtime)
        assert packed(ask(runtime)).endswith(BY_WORDS)


def test_a_model_that_pools_by_itself_is_matched_by_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnnxEncoder, "gives_tokens", property(lambda self: False))
    with opened(tmp_path) as runtime:
        post(runtime)
        assert packed(ask(runtime)).endswith(BY_WORDS)


def test_what_one_tenant_s_passages_left_does_not_serve_another_unless_they_share(
    tmp_path: Path, runs: list[str]
) -> None:
    for shared, more in ((False, 1), (True, 0)):
        home = tmp_path / str(shared)
        with opened(home, embedding_cache={"shared_by_tenants": shared}) as runtime:
            for tenant in ("acme", "rival"):
                runs.clear()
                post(runtime, tenant)
                assert len(runs) == (1 if tenant == "acme" else more)
                assert packed(ask(runtime, tenant)).endswith(BY_TOKENS)
                assert len(runs) == (1 if tenant == "acme" else more)


def test_a_cache_that_fails_costs_the_question_a_reading_and_no_more(
    tmp_path: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise StorageError("database is locked", remedy="Try again")

    with opened(tmp_path) as runtime:
        post(runtime)
        embedded = len(runs)
        monkeypatch.setattr(SqliteEmbeddingCache, "tokens", broken)
        monkeypatch.setattr(SqliteEmbeddingCache, "put_tokens", broken)
        assert packed(ask(runtime)).endswith(BY_TOKENS)
        assert len(runs) == embedded + 1
