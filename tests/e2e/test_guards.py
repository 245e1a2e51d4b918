"""Rates, requests at a time and the guard against loops: parallel clients of real servers, at an endpoint that hangs or
fails."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.commands import as_json, serving, started
from tests.openai_server import Script, openai_server
from tests.qdrant_server import qdrant_server
from tests.redis_server import redis_server

GUIDE = "# Parrots\n\nParrots need an export permit. The permit is issued by the veterinary office.\n"
CLIENTS = 12


class Asker:
    """Whoever has a key; each question is another one, unless it is told, and none is answered from a cache."""

    def __init__(self, project: Path, name: str) -> None:
        secret = as_json(project, "keys", "create", "--principal", name)["secret"]
        self._headers = {"authorization": f"Bearer {secret}", "cache-control": "no-store"}
        self._number = 0

    def ask(self, url: str, question: str | None = None) -> httpx.Response:
        """Who issues the permit?"""
        self._number += 1
        asked = question or f"Who issues the export permit for parrots, number {self._number}"
        return httpx.post(f"{url}/v1/query", json={"query": asked}, headers=self._headers, timeout=120)


@pytest.fixture
def script() -> Script:
    return Script(reply="The veterinary office issues it [1].")


@pytest.fixture
def project(tmp_path: Path, script: Script) -> Iterator[Path]:
    """With an index that several servers share."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "parrots.md").write_text(GUIDE)
    with qdrant_server() as index, openai_server(script) as url:
        model = {"name": "tiny", "base_url": url, "max_retries": 0, "rest_after_failures": 0, "timeout_s": 100}
        wishes = {
            "index": {"engine": "qdrant", "url": index.url, "grpc_port": None},
            "generation": {"extractive_first": False, "models": [model]},
        }
        (tmp_path / "ragsaver.yaml").write_text(json.dumps(wishes))
        as_json(tmp_path, "ingest", "docs")
        yield tmp_path


@pytest.mark.parametrize("servers", [1, 2])
def test_no_more_requests_of_a_key_are_at_a_hanging_endpoint_than_it_may_have(
    project: Path, script: Script, tmp_path: Path, servers: int
):
    script.hold = threading.Event()
    ana, bob = Asker(project, "ana"), Asker(project, "bob")
    more = {"RAGSAVER_SERVER__CONCURRENCY": "3"}
    with ExitStack() as running, ThreadPoolExecutor(CLIENTS + 1) as clients:
        running.callback(script.hold.set)
        if servers > 1:
            more["RAGSAVER_SERVER__RATE_LIMIT_REDIS_URL"] = running.enter_context(redis_server(tmp_path))
        urls = [running.enter_context(serving(project, **more)) for _ in range(servers)]
        asked = [clients.submit(ana.ask, urls[number % servers]) for number in range(CLIENTS)]
        refused = [one.result() for _, one in zip(range(CLIENTS - 3), as_completed(asked), strict=False)]
        assert {told(one) for one in refused} == {(429, "urn:ragsaver:problem:rate-limited")}
        assert {one.headers["retry-after"] for one in refused} == {"1"}
        other = clients.submit(bob.ask, urls[-1])
        until(lambda: script.at_once == 4)
        script.hold.set()
        assert Counter(one.result().status_code for one in asked) == {200: 3, 429: CLIENTS - 3}
        assert other.result().status_code == 200
        # what fails gives its place back
        script.statuses[:] = [500] * 6
        failed = [ana.ask(urls[number % servers]).status_code for number in range(7)]
        assert failed == [502] * 6 + [200]
    assert script.most_at_once == 4


def test_what_a_killed_server_had_under_way_is_free_again_and_not_what_another_has(
    project: Path, script: Script, tmp_path: Path
):
    script.hold = threading.Event()
    ana = Asker(project, "ana")
    with ExitStack() as running, ThreadPoolExecutor(4) as clients:
        running.callback(script.hold.set)
        more = {
            "RAGSAVER_SERVER__CONCURRENCY": "3",
            "RAGSAVER_SERVER__RATE_LIMIT_REDIS_URL": running.enter_context(redis_server(tmp_path)),
        }
        url = running.enter_context(serving(project, **more))
        with started(project, **more) as doomed:
            lost = [clients.submit(ana.ask, doomed.url) for _ in range(2)]
            kept = clients.submit(ana.ask, url)
            until(lambda: script.at_once == 3)
            assert [ana.ask(one).status_code for one in (url, doomed.url)] == [429, 429]
            doomed.process.kill()
            for one in lost:
                assert isinstance(one.exception(), httpx.TransportError)
        # the endpoint still has the lost ones: what tells that another was let in is one call more
        asked = []

        def let_in() -> bool:
            if not asked or (asked[-1].done() and asked[-1].result().status_code == 429):
                asked.append(clients.submit(ana.ask, url))
            return len(script.requests) == 4

        until(let_in)
        more_of_them = clients.submit(ana.ask, url)
        until(lambda: len(script.requests) == 5)
        assert not kept.done()
        assert told(ana.ask(url)) == (429, "urn:ragsaver:problem:rate-limited")
        script.hold.set()
        assert [one.result().status_code for one in (kept, asked[-1], more_of_them)] == [200] * 3


@pytest.mark.parametrize("servers", [1, 2])
def test_of_parallel_requests_as_many_as_the_rate_allows_reach_an_endpoint_that_fails(
    project: Path, script: Script, tmp_path: Path, servers: int
):
    script.statuses[:] = [500] * CLIENTS
    ana, bob = Asker(project, "ana"), Asker(project, "bob")
    more = {"RAGSAVER_SERVER__RATE_LIMIT": "5/day"}
    with ExitStack() as running:
        if servers > 1:
            more["RAGSAVER_SERVER__RATE_LIMIT_REDIS_URL"] = running.enter_context(redis_server(tmp_path))
        urls = [running.enter_context(serving(project, **more)) for _ in range(servers)]
        answers = at_once(lambda number: ana.ask(urls[number % servers]))
        assert Counter(map(told, answers)) == {
            (502, "urn:ragsaver:problem:generation-error"): 5,
            (429, "urn:ragsaver:problem:rate-limited"): CLIENTS - 5,
        }
        assert len(script.requests) == 5
        limits = {one.headers["ratelimit-remaining"] for one in answers if one.status_code == 502}
        assert "0" in limits and limits <= set("01234")
        for one in answers:
            assert one.status_code == 502 or 0 < int(one.headers["retry-after"]) <= 86_400
        script.statuses.clear()
        assert [bob.ask(url).status_code for url in urls] == [200] * servers


def test_of_parallel_askings_of_the_same_as_many_as_the_guard_allows_reach_an_endpoint_that_hangs(
    project: Path, script: Script
):
    script.hold = threading.Event()
    ana, bob = Asker(project, "ana"), Asker(project, "bob")
    question = "Who issues the export permit?"
    with ExitStack() as running, ThreadPoolExecutor(CLIENTS) as clients:
        running.callback(script.hold.set)
        url = running.enter_context(serving(project, RAGSAVER_SERVER__LOOP_GUARD="3/day"))
        asked = [clients.submit(ana.ask, url, question) for _ in range(CLIENTS)]
        refused = [one.result() for _, one in zip(range(CLIENTS - 3), as_completed(asked), strict=False)]
        assert {told(one) for one in refused} == {(429, "urn:ragsaver:problem:repeated-question")}
        script.hold.set()
        assert Counter(one.result().status_code for one in asked) == {200: 3, 429: CLIENTS - 3}
        assert len(script.requests) == 3
        # one that failed was asked too, and another asker's is another's
        script.statuses[:] = [500] * 3
        failed = [bob.ask(url, question) for _ in range(4)]
        assert [one.status_code for one in failed] == [502] * 3 + [429]
        assert ana.ask(url, "Who needs a permit?").status_code == 200


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("type", "")


def at_once(ask: Callable[[int], httpx.Response]) -> Sequence[httpx.Response]:
    together = threading.Barrier(CLIENTS)

    def one(number: int) -> httpx.Response:
        together.wait(60)
        return ask(number)

    with ThreadPoolExecutor(CLIENTS) as clients:
        return list(clients.map(one, range(CLIENTS)))


def until(right: Callable[[], bool], seconds: float = 60.0) -> None:
    """Nothing is measured by it: it ends a test that hangs."""
    end = time.monotonic() + seconds
    while not right():
        assert time.monotonic() < end
        time.sleep(0.05)
