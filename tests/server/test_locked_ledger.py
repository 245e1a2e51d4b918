"""Another process has the ledger's file to itself: who has a deadline is told before it, and no money is lost."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access
from tests.openai_server import Script, openai_server
from tests.server.paying import QUESTION, micro, served, tiny

COST = 280  # micro-dollars of one answer
CHAT = {"model": "query", "messages": [{"role": "user", "content": QUESTION["query"]}]}
SOON = {"x-ragsaver-deadline": "1"}


@contextmanager
def locked(home: Path) -> Iterator[None]:
    other = sqlite3.connect(home / "spend.sqlite", isolation_level=None, check_same_thread=False, timeout=30)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for the file waits for longer than any test."""
    monkeypatch.setattr("ragsaver.sqlite._PATIENCE_S", 3600)


@pytest.fixture
def script() -> Script:
    return Script(reply="The veterinary office issues it [1].")


@pytest.fixture
def both(runtime: Runtime, script: Script, patient: None) -> Iterator[tuple[TestClient, Access]]:
    with openai_server(script) as url, served(runtime, [tiny(url)], fallback="none") as made:
        yield made


@pytest.mark.parametrize("stream", [False, True])
def test_a_question_is_refused_by_its_deadline_while_the_ledger_is_locked_and_no_model_is_asked(
    both: tuple[TestClient, Access], script: Script, runtime: Runtime, stream: bool
):
    client, _ = both
    before = client.get("/v1/budgets").json()  # opens the ledger
    with ThreadPoolExecutor(3) as askers:
        with locked(runtime.settings.home):
            answers = [
                askers.submit(client.post, "/v1/query", json={**QUESTION, "stream": stream}, headers=SOON),
                askers.submit(client.post, "/v1/chat/completions", json={**CHAT, "stream": stream}, headers=SOON),
            ]
            told = [one.result(60) for one in answers]
        assert not script.requests
        for answer in told:
            assert answer.status_code == 504 or "storage-late" in answer.text, answer.text
        assert client.post("/v1/query", json=QUESTION).status_code == 200
    assert client.get("/v1/budgets").json() != before


def test_one_with_a_deadline_does_not_wait_behind_those_who_have_none(
    both: tuple[TestClient, Access], script: Script, runtime: Runtime
):
    client, _ = both
    client.get("/v1/budgets")
    with ThreadPoolExecutor(12) as askers:
        with locked(runtime.settings.home):
            others = [askers.submit(client.post, "/v1/query", json=QUESTION) for _ in range(2)]
            others += [
                askers.submit(client.post, "/v1/chat/completions", json={**CHAT, "stream": True}) for _ in "12345678"
            ]
            told = askers.submit(client.post, "/v1/query", json={**QUESTION, "stream": True}, headers=SOON).result(60)
            assert "storage-late" in told.text or told.status_code == 504
            assert not script.requests
        assert {one.result(60).status_code for one in others} == {200}


def test_what_was_called_is_charged_once_the_ledger_can_be_written_again(
    both: tuple[TestClient, Access], script: Script, runtime: Runtime
):
    client, _ = both
    script.hold = threading.Event()
    client.get("/v1/budgets")
    with ThreadPoolExecutor(1) as askers:
        asked = askers.submit(client.post, "/v1/query", json=QUESTION, headers={"x-ragsaver-deadline": "5"})
        while not script.requests:
            assert not asked.done(), asked.result().text
        with locked(runtime.settings.home):
            script.hold.set()
            answer = asked.result(60)
        assert answer.status_code == 200 and micro(answer.json()["receipt"]["cost_usd"]) == COST
    script.hold = None
    assert client.get(f"/v1/receipts/{answer.json()['request_id']}").status_code == 200
    assert client.post("/v1/query", json=QUESTION).status_code == 200
    usage = client.get("/v1/usage").json()["total"]
    assert (usage["calls"], micro(usage["cost_usd"])) == (2, 2 * COST)


def test_a_receipt_that_waits_for_the_ledger_is_told_apart_from_one_that_is_not_there(
    runtime: Runtime, script: Script, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ragsaver.sqlite._PATIENCE_S", 0.05)
    with openai_server(script) as url, served(runtime, [tiny(url)], fallback="none") as (client, _):
        client.get("/v1/budgets")
        script.hold = threading.Event()
        with ThreadPoolExecutor(1) as askers:
            asked = askers.submit(client.post, "/v1/query", json=QUESTION)
            while not script.requests:
                assert not asked.done(), asked.result().text
            with locked(runtime.settings.home):
                script.hold.set()
                request_id = asked.result(60).json()["request_id"]
                meanwhile = client.get(f"/v1/receipts/{request_id}")
                assert client.get("/v1/receipts/req_of_nobody").status_code == 404
                assert "ragsaver_receipts_waiting 1" in client.get("/metrics").text
        assert (meanwhile.status_code, meanwhile.headers["retry-after"]) == (503, "5")
        assert meanwhile.json()["problem"] == "the receipt is there, and the ledger could not be written yet"
        script.hold = None
        later = client.post("/v1/query", json=QUESTION).json()["request_id"]
        assert {client.get(f"/v1/receipts/{one}").status_code for one in (later, request_id)} == {200}
        assert micro(client.get("/v1/usage").json()["total"]["cost_usd"]) == 2 * COST
        assert "ragsaver_receipts_waiting 0" in client.get("/metrics").text
