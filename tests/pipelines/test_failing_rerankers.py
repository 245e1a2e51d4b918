"""A reranker that fails fails no question: the fused order stays, and receipt, explanation, metrics and log say so."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from ragsaver.components.request import Request
from ragsaver.components.reranking import Reranking
from ragsaver.errors import SettingsError
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.models.rerankers.remote import RemoteReranker
from ragsaver.pipelines.result import AskResult
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings
from ragsaver.spend.receipt import ReceiptLine
from tests.rerank_server import Script, rerank_server

QUESTION = "What do owls hunt at night?"
TEXTS = ["Owls hunt voles at night.", "The office issues permits for fishing at night.", "Parrots eat seeds and hunt."]
DEEP = b"[" * 200_000  # below what an answer may hold: the parser itself gives up


@contextmanager
def reranked(folder: Path, **rerank: object) -> Iterator[Runtime]:
    settings = Settings.model_validate(
        {
            "home": folder / "home",
            "pipelines_dir": folder / "pipelines",
            "query": {"pipeline": "reranked"},
            "cache": {"answers": "off"},
            "rerank": {"mode": "always", "deadline_ms": 60_000, "usd_per_1k_calls": 1, **rerank},
        }
    )
    with open_runtime(settings, "a test") as runtime:
        documents = [PostedDocument(f"{n}.md", text, "text") for n, text in enumerate(TEXTS)]
        runtime.ingestor.ingest_texts(documents, runtime.scope())
        yield runtime


def asked(runtime: Runtime) -> tuple[AskResult, ReceiptLine]:
    result = runtime.engine().ask(QUESTION, Request(runtime.reading()), explain=True)
    assert result.answer == TEXTS[0]
    assert [one.rank for one in result.debug.passages] == [1, 2, 3], "the fused order stays"
    assert all(one.reranked_score is None for one in result.debug.passages)
    (line,) = (line for line in result.receipt.lines if line.stage == "rerank")
    assert line.reason == result.debug.rerank
    return result, line


def rows(*scores: str) -> bytes:
    told = ",".join(f'{{"index": {place}, "score": {score}}}' for place, score in enumerate(scores))
    return f"[{told}]".encode()


@pytest.mark.parametrize(
    "body",
    [
        rows("1", "2", "3").replace(b'"index": 0', b'"index": Infinity'),
        rows("9" * 400, "1", "2"),
        rows("1e39", "1", "2"),
        rows("NaN", "1", "2"),
        DEEP,
        b"\xff\xfe[",
        b"5",
    ],
    ids=["infinite index", "400 digits", "beyond float32", "no number", "nested", "no text", "no list"],
)
def test_a_server_that_answers_with_nonsense_fails_no_question(
    tmp_path: Path, body: bytes, caplog: pytest.LogCaptureFixture
):
    with (
        rerank_server(script := Script(answer=lambda *_: body)) as url,
        reranked(tmp_path, backend="remote", url=url) as runtime,
        caplog.at_level(logging.WARNING, "ragsaver"),
    ):
        _, line = asked(runtime)
        counted = runtime.resources.reranking.watch.decisions()
    assert len(script.requests) == 1
    assert line.reason.startswith(("failed: gave no list of scores", "failed: did not give one score"))
    assert line.reason.endswith(": the order stays")
    assert line.cost_usd == Decimal("0.001"), "it may bill what it answered"
    assert counted["failed"] == sum(counted.values()) == 1
    assert [record.getMessage()[:34] for record in caplog.records] == ["the reranker failed (RerankError):"]


def raising(error: Exception):
    def score(*_: object, **__: object) -> np.ndarray:
        raise error

    return score


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (raising(RuntimeError("no memory for secrets")), "failed: it raised RuntimeError: the order stays"),
        (raising(MemoryError()), "failed: it raised MemoryError: the order stays"),
        (
            lambda *_, **__: np.array([np.nan, 1, 2]),
            "failed: did not give one number for each of 3 texts: the order stays",
        ),
        (lambda *_, **__: np.ones(2), "failed: did not give one number for each of 3 texts: the order stays"),
    ],
)
def test_whatever_a_model_raises_or_gives_fails_no_question(
    tmp_path: Path, score, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    with reranked(tmp_path) as runtime, caplog.at_level(logging.WARNING, "ragsaver"):
        monkeypatch.setattr(runtime.resources.reranking.reranker, "score_passages", score)
        lines = [asked(runtime)[1] for _ in range(4)]
        counted = runtime.resources.reranking.watch.decisions()
    assert [line.reason for line in lines[:3]] == [reason] * 3
    assert lines[3].reason.startswith("paused: ")
    assert [line.cost_usd for line in lines] == [Decimal("0.001")] * 3 + [0]
    assert (counted["failed"], counted["paused"]) == (3, 1)
    assert len(caplog.records) == 3 and all("the reranker failed (" in one.getMessage() for one in caplog.records)


def test_a_model_file_that_is_garbage_fails_no_question_and_costs_nothing(tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"garbage")
    (folder / "tokenizer.json").write_text("{}")
    with reranked(tmp_path, backend="onnx", model=str(folder)) as runtime:
        _, line = asked(runtime)
    assert line.reason == "failed: it can't be opened: the order stays" and line.cost_usd == 0


@pytest.mark.parametrize("url", ["http://[::1", "http://a b:99999/", "http://a\u2603..b"])
def test_an_address_that_nothing_can_be_sent_to_fails_no_question(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
):
    with reranked(tmp_path) as runtime:
        monkeypatch.setattr(Reranking, "reranker", RemoteReranker(url))
        _, line = asked(runtime)
    assert line.reason.startswith(("failed: has an address that none can have", "failed: can't be reached"))
    assert line.cost_usd == 0


def test_a_folder_without_a_model_is_told_before_any_question(tmp_path: Path):
    with (
        reranked(tmp_path, backend="onnx", model=str(tmp_path)) as runtime,
        pytest.raises(SettingsError, match=r"holds no model\.onnx"),
    ):
        runtime.engine().pipeline.warm_up()
