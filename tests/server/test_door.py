"""Who is let in: without keys this machine only, with keys whoever has one, and never a web page of somebody's."""

import logging
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from ragsaver.access.identity import Permission
from ragsaver.errors import UsageError
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app
from ragsaver.server.door import OPEN, is_loopback
from ragsaver.server.run import require_keys

TOKEN = "owner-token"
QUESTION = {"query": "what do owls hunt?"}
CHAT = {"model": "query", "messages": [{"role": "user", "content": QUESTION["query"]}]}


@pytest.fixture
def access(runtime: Runtime) -> Iterator[Access]:
    made = Access(LiveRuntime(runtime), TOKEN)
    yield made
    made.close()


@pytest.fixture
def client(access: Access) -> Iterator[TestClient]:
    with TestClient(create_app(access), raise_server_exceptions=False) as made:
        yield made


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def a_key(access: Access, *permissions: Permission, **more) -> dict[str, str]:
    return bearer(access.keys.create("ana", "acme", permissions=permissions or [*Permission], **more)[1].text())


def routes(client: TestClient) -> list[tuple[str, str]]:
    found = []
    waiting = [*client.app.routes]
    while waiting:
        route = waiting.pop()
        waiting += getattr(route, "routes", [])
        included = getattr(route, "original_router", None)
        waiting += included.routes if included else []
        found += [(method, route.path) for method in getattr(route, "methods", None) or []]
    return found


def test_no_route_but_the_open_ones_answers_without_a_key_once_there_is_one(client: TestClient, access: Access):
    key = a_key(access)
    guarded = [(method, path) for method, path in routes(client) if path not in OPEN]
    assert ("POST", "/v1/query") in guarded and ("POST", "/v1/local/ingest") in guarded
    for method, path in [*guarded, ("GET", "/v1/nothing"), ("POST", "/v1//query"), ("GET", "/V1/jobs/x")]:
        answer = client.request(method, path)
        told = answer.json().get("error", {}).get("code") or answer.json()["type"]
        assert answer.status_code == 401 and told in ("invalid_api_key", "urn:ragsaver:problem:unauthorized"), path
        assert answer.headers["www-authenticate"] == "Bearer"
    for path in OPEN:
        assert client.get(path).status_code == 200, path
    assert client.post("/v1/query", json=QUESTION, headers=key).status_code == 200
    assert client.get("/v1/nothing", headers=key).status_code == 404


def test_a_key_does_not_open_the_routes_of_the_server_s_own_user(client: TestClient, access: Access):
    assert client.post("/v1/local/verify", json={}, headers=a_key(access)).status_code == 401
    assert client.post("/v1/local/verify", json={}, headers=bearer(TOKEN)).status_code == 200


def test_without_keys_this_machine_asks_as_the_settings_user_with_whatever_its_client_sends(client: TestClient):
    for headers in ({}, bearer("sk-anything"), {"host": "localhost:1"}, {"host": "127.0.0.1"}, {"host": "[::1]:8765"}):
        assert client.post("/v1/search", json=QUESTION, headers=headers).status_code == 200, headers
    assert (
        client.post("/v1/search", json=QUESTION, headers=bearer("rsk_" + "0" * 16 + "_" + "x" * 43)).status_code == 401
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "localhost.evil.example"},
        {"host": "127.0.0.1.evil.example:8765"},
        {"host": "evil.example@localhost.example"},
        {"host": ""},
        {"host": "192.168.0.7"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"host": "localhost", "origin": "http://localhost.evil.example:8765"},
    ],
)
def test_without_keys_a_name_or_page_of_somebody_else_s_is_refused(client: TestClient, headers: dict[str, str]):
    for method, path in (
        ("POST", "/v1/search"),
        ("GET", "/v1/documents"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
    ):
        answer = client.request(method, path, headers=headers, json=QUESTION if method == "POST" else None)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:ragsaver:problem:host-refused"), path
    assert client.get("/healthz", headers=headers).status_code == 200


def test_with_a_key_the_host_may_be_any(client: TestClient, access: Access):
    key = a_key(access)
    for headers in ({"host": "rag.example.com"}, {"origin": "https://app.example.com"}):
        assert client.post("/v1/search", json=QUESTION, headers={**key, **headers}).status_code == 200


@pytest.mark.parametrize(
    "shown", ["", "Bearer", "Bearer ", "Basic eDp5", "Bearer rsk_", "Bearer sk-anything", "bearer x"]
)
def test_what_is_no_key_lets_nobody_in(client: TestClient, access: Access, shown: str):
    a_key(access)
    assert client.post("/v1/query", json=QUESTION, headers={"authorization": shown}).status_code == 401


def test_the_settings_may_ask_for_a_key_before_there_is_one_or_never_on_this_machine(runtime: Runtime):
    def status(require_key: bool, host: str) -> int:
        asked = runtime.settings.server.model_copy(update={"require_key": require_key})
        settings = runtime.settings.model_copy(update={"server": asked})
        access = Access(LiveRuntime(Runtime(replace(runtime.resources, settings=settings))), TOKEN, host=host)
        try:
            return TestClient(create_app(access)).get("/v1/nothing").status_code
        finally:
            access.close()

    assert (status(True, "127.0.0.1"), status(False, "127.0.0.1"), status(False, "0.0.0.0")) == (401, 404, 401)


def test_a_key_is_for_what_it_was_made_for(client: TestClient, access: Access):
    asks, brings, looks = (a_key(access, one) for one in Permission)
    document = {"documents": [{"source": "a.md", "text": "Owls hunt voles."}]}
    wanted = [
        (("POST", "/v1/query", QUESTION), (200, 403, 403)),
        (("POST", "/v1/search", QUESTION), (200, 403, 403)),
        (("POST", "/v1/documents", document), (403, 200, 403)),
        (("GET", "/v1/documents", None), (200, 200, 403)),
        (("DELETE", "/v1/documents/none", None), (403, 404, 403)),
        (("GET", "/v1/jobs/none", None), (403, 404, 403)),
        (("POST", "/v1/estimate", QUESTION), (200, 403, 403)),
        (("POST", "/v1/chat/completions", CHAT), (200, 403, 403)),
        (("GET", "/v1/models", None), (200, 403, 403)),
        (("GET", "/v1/models/none", None), (404, 403, 403)),
        (("GET", "/v1/usage", None), (200, 403, 200)),
        (("GET", "/v1/budgets", None), (200, 403, 200)),
        (("GET", "/v1/receipts/none", None), (404, 403, 404)),
        (("POST", "/v1/local/ingest", {"paths": ["x"]}), (401, 401, 401)),
        (("POST", "/v1/local/plan", {"paths": ["x"]}), (401, 401, 401)),
        (("POST", "/v1/local/verify", {}), (401, 401, 401)),
    ]
    asked = {path for (_, path, _), _ in wanted}
    guarded = {path for _, path in routes(client) if path not in OPEN and not path.startswith("/v1/local")}
    assert {re.sub(r"\{.*?\}", "none", path) for path in guarded} <= asked
    for (method, path, body), statuses in wanted:
        told = tuple(client.request(method, path, json=body, headers=key).status_code for key in (asks, brings, looks))
        assert told == statuses, path


def test_a_key_may_be_for_some_pipelines_only(client: TestClient, access: Access):
    key = a_key(access, pipelines=["reranked"])
    assert client.post("/v1/query", json=QUESTION, headers=key).status_code == 200
    assert client.post("/v1/query", json={**QUESTION, "pipeline": "reranked"}, headers=key).status_code == 200
    refused = client.post("/v1/query", json={**QUESTION, "pipeline": "query"}, headers=key)
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:ragsaver:problem:forbidden")
    assert (
        client.post("/v1/query", json={**QUESTION, "pipeline": "query", "stream": True}, headers=key).status_code == 403
    )


def test_a_secret_is_in_no_answer_and_no_log(client: TestClient, access: Access, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    made, presented = access.keys.create("ana", "acme")
    access.keys.revoke(made.id)
    told = client.post("/v1/query", json=QUESTION, headers=bearer(presented.text()))
    told2 = client.post("/v1/query", json=QUESTION, headers=bearer(presented.text() + "x"))
    assert (told.status_code, told2.status_code) == (401, 401)
    assert presented.secret not in told.text + told2.text + caplog.text


def test_nobody_is_let_in_while_the_keys_can_t_be_read(client: TestClient, access: Access):
    key = a_key(access)
    access.keys._database().close()
    access.keys._place.write_bytes(b"no database" * 1000)
    for headers in (key, {}, bearer("sk-x")):
        assert client.post("/v1/query", json=QUESTION, headers=headers).status_code in (401, 507)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost", "LOCALHOST."])
def test_what_only_this_machine_reaches(host: str):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "10.0.0.1", "example.com", "localhost.example.com", "127.1.evil"]
)
def test_what_others_reach_needs_a_good_key_first(runtime: Runtime, access: Access, host: str):
    assert not is_loopback(host)
    with pytest.raises(UsageError, match="ragsaver keys create"):
        require_keys(runtime.settings, host)
    made, _ = access.keys.create("ana", "acme")
    require_keys(runtime.settings, host)
    access.keys.revoke(made.id)
    with pytest.raises(UsageError, match="no API key"):
        require_keys(runtime.settings, host)
