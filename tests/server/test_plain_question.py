"""A plain question takes a shorter way through the server, and nobody can tell from what comes back."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server import plain_question
from ragsaver.server.access import Access
from ragsaver.server.app import create_app

JSON = "application/json"
ASKED = b'{"query": "What do owls hunt?"}'


@pytest.fixture
def access(runtime: Runtime):
    made = Access(LiveRuntime(runtime), "owner-token")
    yield made
    made.close()


@pytest.fixture
def client(access: Access):
    with TestClient(create_app(access), raise_server_exceptions=False) as made:
        made.post("/v1/documents", json={"documents": [{"source": "a.md", "text": "Owls hunt voles."}]})
        yield made


def ask(client: TestClient, body: bytes, **headers: str) -> tuple[int, dict[str, str], Any]:
    """Status, headers and body, less what differs between any two requests."""
    answer = client.post("/v1/query", content=body, headers=headers)
    told = answer.json()
    for name in ("request_id", "latency_ms", "receipt"):
        told.pop(name, None)
    own = ("x-request-id", "content-length")
    return answer.status_code, {name: one for name, one in answer.headers.items() if name not in own}, told


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (ASKED, {"content-type": JSON}),
        (ASKED, {"content-type": "application/json; charset=utf-8"}),
        (ASKED, {"content-type": JSON, "cache-control": "no-cache"}),
        (ASKED, {"content-type": JSON, "cache-control": "no-store"}),
        (ASKED, {"content-type": "text/plain"}),
        (ASKED, {}),
        (b'{"query": "What do owls hunt?", "collection": "other"}', {"content-type": JSON}),
        (b'{"query": "What do owls hunt?", "debug": "yes"}', {"content-type": JSON}),
        (b'{"query": "What do owls hunt?", "debug": true, "stream": true}', {"content-type": JSON}),
        (b'{"query": "What do owls hunt?", "pipeline": "none"}', {"content-type": JSON}),
        (b'{"query": "What do owls hunt?", "tenant": "other"}', {"content-type": JSON}),
        (b'{"query": "What do owls hunt?", "response_schema": {"type": "object"}}', {"content-type": JSON}),
        (b'{"query": 7}', {"content-type": JSON}),
        (b'{"query": ""}', {"content-type": JSON}),
        (b'{"query": "\\ud800"}', {"content-type": JSON}),
        (b'{"query": "\xff"}', {"content-type": JSON}),
        (b"{" * 10_000, {"content-type": JSON}),
        (b"[]", {"content-type": JSON}),
        (b"", {"content-type": JSON}),
    ],
)
def test_both_ways_end_alike(client: TestClient, monkeypatch: pytest.MonkeyPatch, body: bytes, headers: dict[str, str]):
    ask(client, body, **headers)  # so that it is in the cache both times
    shorter = ask(client, body, **headers)
    monkeypatch.setattr(plain_question, "_LONGEST", -1)
    assert shorter == ask(client, body, **headers)


def test_a_wish_is_heard_and_a_wrong_one_is_refused(client: TestClient):
    assert client.post("/v1/query", content=ASKED, headers={"x-ragsaver-max-cost": "0"}).status_code == 422  # no type
    told = client.post("/v1/query", json={"query": "What do owls hunt?"}, headers={"x-ragsaver-quality": "lavish"})
    assert told.status_code == 422
    assert "x-ragsaver-quality" in told.text


def test_a_body_that_is_too_large_is_refused(access: Access, runtime: Runtime):
    with TestClient(create_app(access), raise_server_exceptions=False) as client:
        body = b'{"query": "' + b"x" * (runtime.settings.server.max_body_mb * 2**20 + 1) + b'"}'
        pieces = (body[at : at + 100_000] for at in range(0, len(body), 100_000))
        for path in ("/v1/query", "/v1/search", "/v1/chat/completions"):
            assert client.post(path, content=body, headers={"content-type": JSON}).status_code == 413
        # of this one nobody knows beforehand how long it is
        told = client.post("/v1/query", content=pieces, headers={"content-type": JSON})
        assert (told.status_code, told.headers["content-type"]) == (413, "application/problem+json")
        assert "server.max_body_mb" in told.json()["detail"]
