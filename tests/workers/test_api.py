"""Documents that a server hands to workers: taken, refused when too many wait, and asked about."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from ragsaver.access.identity import Permission
from ragsaver.index.scope import Scope
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import open_runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app
from ragsaver.settings import Settings, SpendSettings
from ragsaver.workers.queueing import IngestQueue
from tests.redis_server import RedisServer


@pytest.fixture
def served(tmp_path: Path, redis: RedisServer) -> Iterator[tuple[TestClient, IngestQueue]]:
    settings = Settings.model_validate(
        {
            "home": tmp_path / "home",
            "queue": {"broker_url": redis.url, "max_waiting_documents": 2},
            "server": {"allowed_hosts": ["testserver"]},
        }
    )
    with open_runtime(settings, "a test") as runtime:
        access, queue = Access(LiveRuntime(runtime), "token"), IngestQueue(settings)
        with TestClient(create_app(access, queue), raise_server_exceptions=False) as client:
            yield client, queue
        access.close()
        queue.close()


def post(client: TestClient, *sources: str):
    return client.post("/v1/documents", json={"documents": [{"source": one, "text": "Owls."} for one in sources]})


def test_documents_are_taken_and_the_job_tells_of_each(served: tuple[TestClient, IngestQueue]):
    client, _ = served
    taken = post(client, "a.md", "b.md")
    assert taken.status_code == 202
    job = client.get(taken.headers["location"]).json()
    assert (job["job_id"], job["state"], job["documents"]["queued"]) == (taken.json()["job_id"], "queued", 2)
    assert [(one["source"], one["state"]) for one in job["progress"]] == [("a.md", "queued"), ("b.md", "queued")]
    page = client.get(f"{taken.headers['location']}?limit=1&offset=1").json()
    assert [one["source"] for one in page["progress"]] == ["b.md"]


def test_new_jobs_are_refused_while_too_many_documents_wait(served: tuple[TestClient, IngestQueue]):
    client, queue = served
    job = post(client, "a.md", "b.md").json()["job_id"]
    refused = post(client, "c.md")
    assert (refused.status_code, refused.json()["type"]) == (429, "urn:ragsaver:problem:queue-full")
    assert int(refused.headers["retry-after"]) > 0
    assert len(queue.jobs.reports("default", SpendSettings())) == 1
    queue.jobs.drop(job, "default")
    assert post(client, "c.md").status_code == 202


def test_a_document_is_posted_with_a_priority(served: tuple[TestClient, IngestQueue]):
    client, _ = served
    body = {"documents": [{"source": "a.md", "text": "Owls."}]}
    first = client.post("/v1/documents", json={**body, "priority": "high"})
    assert first.json()["priority"] == client.get(first.headers["location"]).json()["priority"] == "high"
    assert client.post("/v1/documents", json=body).json()["priority"] == "normal"
    assert client.post("/v1/documents", json={**body, "priority": "urgent"}).status_code == 422


def test_a_tenant_does_not_learn_of_another_s_job(served: tuple[TestClient, IngestQueue]):
    client, queue = served
    theirs = queue.put_texts([PostedDocument("a.md", "Secret.")], Scope("other", "default")).job_id
    assert client.get(f"/v1/jobs/{theirs}").status_code == client.get("/v1/jobs/none").status_code == 404
    assert not queue.jobs.drop(theirs, "default")


def test_a_key_s_documents_go_to_its_tenant_whose_keys_alone_see_the_job(served: tuple[TestClient, IngestQueue]):
    client, queue = served
    keys = {}
    for tenant in ("acme", "umbrella"):
        _, presented = client.app.state.access.keys.create("ana", tenant, permissions=[Permission.INGEST])
        keys[tenant] = {"authorization": f"Bearer {presented.text()}"}
    taken = {
        tenant: client.post(
            "/v1/documents", json={"documents": [{"source": f"{tenant}.md", "text": "Owls."}]}, headers=key
        )
        for tenant, key in keys.items()
    }
    assert {tenant: len(queue.jobs.reports(tenant, SpendSettings())) for tenant in (*keys, "default")} == {
        "acme": 1,
        "umbrella": 1,
        "default": 0,
    }
    for whose, answer in taken.items():
        for tenant, key in keys.items():
            told = client.get(answer.headers["location"], headers=key)
            absent = client.get("/v1/jobs/none", headers=key)
            if tenant == whose:
                assert [one["source"] for one in told.json()["progress"]] == [f"{whose}.md"]
            else:
                assert (told.status_code, told.json()["detail"]) == (404, absent.json()["detail"])
        assert client.get(answer.headers["location"]).status_code == 401


def test_nothing_is_taken_while_the_broker_is_away(served: tuple[TestClient, IngestQueue], redis: RedisServer):
    client, queue = served
    redis.stop()
    answer = post(client, "a.md")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:ragsaver:problem:broker-unavailable")
    assert queue.jobs.reports("default", SpendSettings()) == []
