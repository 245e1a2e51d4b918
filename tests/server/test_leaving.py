"""Who asks for a whole answer and leaves ends the call of the model; who waits for the same answer gets it."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from urllib.parse import urlsplit

import httpx
import pytest
import sqlalchemy as sa

from ragsaver.components.caller import Caller
from ragsaver.components.resources import Resources
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.runtime import Runtime
from ragsaver.settings import Settings
from ragsaver.spend.ledger import DONE, UNKNOWN
from ragsaver.spend.reports import find_receipt, usage_report
from ragsaver.spend.tables import leases
from tests.endless_server import Endless, endless_server
from tests.openai_server import Script, openai_server
from tests.server.own_settings import served_with
from tests.spend.ledgers import check

QUESTION = "Who issues the export permit for parrots?"
GUIDE = "# Parrots\n\nThe export permit for parrots is issued by the veterinary office.\n"
SAID = "The veterinary office issues it [1]."
BODIES = {
    "/v1/query": {"query": QUESTION},
    "/v1/chat/completions": {"model": "query", "messages": [{"role": "user", "content": QUESTION}]},
}


@contextmanager
def served(runtime: Runtime, model_url: str, **model: object) -> Iterator[tuple[str, Resources]]:
    values = runtime.settings.model_dump()
    asked = {"name": "tiny", "base_url": model_url, "max_retries": 0, "timeout_s": 600, **model}
    values["generation"] = {"extractive_first": False, "models": [asked]}
    values["spend"]["prices"] = {"tiny": {"input_per_mtok": 1, "output_per_mtok": 10}}
    settings = Settings.model_validate(values)
    runtime.ingestor.ingest_texts([PostedDocument("parrots.md", GUIDE, "markdown")], runtime.scope())
    with served_with(runtime, settings) as (url, _, resources):
        yield url, resources


@contextmanager
def caller(
    url: str, path: str = "/v1/query", request_id: str = "req_gone_away", **more: object
) -> Iterator[socket.socket]:
    """Asks, and leaves at the end."""
    text = json.dumps(BODIES[path] | more)
    with socket.create_connection(("127.0.0.1", urlsplit(url).port), timeout=60) as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        connection.sendall(f"{head}x-request-id: {request_id}\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode())
        yield connection


def ask(url: str, path: str = "/v1/query") -> dict:
    return httpx.post(f"{url}{path}", json=BODIES[path], timeout=60).json()


def lines(caplog: pytest.LogCaptureFixture) -> list[dict]:
    return [record.told for record in caplog.records if record.name == "ragsaver.requests"]


def until(what: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("path", BODIES)
def test_a_caller_who_leaves_ends_the_call_and_what_it_held_is_charged_at_once(
    runtime: Runtime, path: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "ragsaver.requests")
    seen = Endless(silent=True, then=SAID)
    with endless_server(seen) as model, served(runtime, model) as (url, resources):
        with caller(url, path):
            assert seen.asked.wait(60) and not seen.left.is_set()
        assert seen.left.wait(60)
        ledger = resources.till.ledger
        until(lambda: find_receipt(ledger, "default", "req_gone_away") is not None)
        kept = find_receipt(ledger, "default", "req_gone_away")
        (line,) = usage_report(ledger, by="outcome").lines
        assert (line.name, line.calls) == (UNKNOWN, 1)
        assert kept.complete is False and kept.receipt.cost_usd == line.cost_usd > 0
        with ledger.database.reading() as connection:
            assert connection.execute(sa.select(leases)).all() == []
        check(ledger)
        until(lambda: lines(caplog))
        (told,) = lines(caplog)
        assert (told["outcome"], Decimal(told["cost_usd"])) == ("left", line.cost_usd)
        answer = ask(url, path)  # the next one who asks the same
        told = answer if path == "/v1/query" else answer["ragsaver"]
        assert (told["answer"], told["route"]["cache"]) == (SAID, "miss")
        assert {one.name: one.calls for one in usage_report(ledger, by="outcome").lines} == {UNKNOWN: 1, DONE: 1}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("silent", [False, True])
def test_the_line_of_a_stream_that_was_left_says_what_it_cost(
    runtime: Runtime, path: str, silent: bool, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "ragsaver.requests")
    seen = Endless(silent=silent)
    with endless_server(seen) as model, served(runtime, model) as (url, resources):
        with caller(url, path, stream=True) as connection:
            assert seen.asked.wait(60)
            said = b""
            while not silent and b"data: " not in said:
                said += connection.recv(4096)
        assert seen.left.wait(60)
        until(lambda: lines(caplog))
        (told,) = lines(caplog)
        (line,) = usage_report(resources.till.ledger, by="outcome").lines
        assert line.name == UNKNOWN and line.cost_usd > 0
        assert (told["outcome"], Decimal(told["cost_usd"])) == ("left", line.cost_usd)


def test_who_waits_for_the_same_answer_gets_it_though_the_first_one_leaves(runtime: Runtime):
    seen = Endless(silent=True, then=SAID)
    with endless_server(seen) as model, served(runtime, model) as (url, resources), ThreadPoolExecutor(3) as pool:
        with caller(url):
            assert seen.asked.wait(60)
            others = [pool.submit(ask, url) for _ in range(3)]
            until(lambda: counted(resources, "waits") == 3)
        assert seen.left.wait(60)
        answers = [other.result(60) for other in others]
        assert [answer["answer"] for answer in answers] == [SAID] * 3
        assert sorted(answer["route"]["cache"] for answer in answers) == ["hit", "hit", "miss"]
        assert len(seen.requests) == 2
        with resources.till.ledger.database.reading() as connection:
            assert connection.execute(sa.select(leases)).all() == []


def counted(resources: Resources, outcome: str) -> int:
    return resources.caches.tally.counts().get(("answer", outcome), 0)


def test_who_only_waits_and_leaves_takes_nothing_from_the_others(runtime: Runtime):
    script = Script(reply=SAID, hold=threading.Event())
    with openai_server(script) as model, served(runtime, model) as (url, resources), ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, url)
        until(lambda: script.requests)
        with caller(url):
            until(lambda: counted(resources, "waits") == 1)
        script.hold.set()
        assert first.result(60)["answer"] == SAID
        assert ask(url)["route"]["cache"] == "hit"
        assert len(script.requests) == 1
        resources.till.flush()
        assert find_receipt(resources.till.ledger, "default", "req_gone_away") is None


def test_who_leaves_while_all_slots_of_the_model_are_taken_never_reaches_it(runtime: Runtime):
    script = Script(reply=SAID, hold=threading.Event())
    with (
        openai_server(script) as model,
        served(runtime, model, concurrency=1) as (url, resources),
        ThreadPoolExecutor(1) as pool,
    ):
        body = {"query": "Who issues permits?"}
        first = pool.submit(lambda: httpx.post(f"{url}/v1/query", json=body, timeout=60).json())
        until(lambda: script.requests)
        with caller(url):
            until(lambda: counted(resources, "misses") == 2)
        until(lambda: find_receipt(resources.till.ledger, "default", "req_gone_away") is not None)
        kept = find_receipt(resources.till.ledger, "default", "req_gone_away")
        assert (kept.complete, kept.receipt.cost_usd) == (False, 0)
        script.hold.set()
        assert first.result(60)["answer"] == SAID
        assert len(script.requests) == 1


def test_nobody_listens_for_who_leaves_while_an_answer_comes_from_the_cache(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
):
    listened = []
    listens = Caller.run

    def counting(self: Caller, work: Callable) -> object:
        listened.append(work)
        return listens(self, work)

    monkeypatch.setattr(Caller, "run", counting)
    with openai_server(Script(reply=SAID)) as model, served(runtime, model) as (url, _):
        assert ask(url)["route"]["cache"] == "miss" and listened
        listened.clear()
        for path in BODIES:
            asked = [ask(url, path) for _ in range(2)]
            caches = [(one if path == "/v1/query" else one["ragsaver"])["route"]["cache"] for one in asked]
            assert caches == ["hit", "hit"]
    assert listened == []
