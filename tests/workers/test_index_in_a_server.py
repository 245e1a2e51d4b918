"""An index in a server has no owner: any worker brings in, any command writes, and what is in is what one would make."""

import threading
from collections.abc import Iterator

import pytest

from ragsaver.ingestion.job_report import State
from ragsaver.pipelines.runtime import open_runtime
from ragsaver.settings import DatabaseSettings
from tests.qdrant_server import StandIn, qdrant_server
from tests.workers.fleet import SCOPE, Project
from tests.workers.test_fleet import service


@pytest.fixture
def server() -> Iterator[StandIn]:
    with qdrant_server() as started:
        yield started


@pytest.fixture
def shared(project: Project, server: StandIn, database: DatabaseSettings) -> Project:
    project.kept = {
        "RAGSAVER_INDEX__ENGINE": "qdrant",
        "QDRANT_URL": server.url,
        "RAGSAVER_INDEX__GRPC_PORT": "null",
        "RAGSAVER_INDEX__DEADLINE_S": "1",
    }
    if database.url:
        project.kept["RAGSAVER_DATABASE__URL"] = database.url.get_secret_value()
        project.kept["RAGSAVER_DATABASE__SCHEMA_NAME"] = database.schema_name
        project.kept["RAGSAVER_EMBEDDING_CACHE__BACKEND"] = "redis"
    return project


def test_several_that_apply_bring_in_what_one_process_does(shared: Project, database: DatabaseSettings) -> None:
    for n in range(5):
        shared.write(f"{n}.md", f"animal{n}")
    shared.write("twin.md", "animal3")
    # Machines with homes of their own where the state is in a database.
    names = ("converter", "embedder", "second", "shell")
    homes = {
        name: str(shared.folder / "machines" / name) if database.url else str(shared.folder / ".ragsaver")
        for name in names
    }
    embedder = service("embedder", shared_index=True)
    assert "--apply" in embedder
    with (
        shared.running(*service("converter"), RAGSAVER_HOME=homes["converter"]),
        shared.running(*embedder, RAGSAVER_HOME=homes["embedder"]),
        shared.running(*embedder, RAGSAVER_HOME=homes["second"]),
        shared.running(*service("api")),
    ):
        first = shared.run("ingest", "docs", "--queue", "--wait", RAGSAVER_HOME=homes["shell"])
        asked = shared.run("search", "animal3 thing number 1", RAGSAVER_HOME=homes["shell"])
        shared.write("1.md", "animal1", sections=3)
        (shared.folder / "docs/2.md").unlink()
        second = shared.run("ingest", "docs", "--prune", RAGSAVER_HOME=homes["shell"])
    assert (first["state"], first["documents"]["applied"], first["errors"]) == ("done", 6, [])
    assert asked["passages"][0]["source"] in ("docs/3.md", "docs/twin.md")
    assert (second["documents"]["changed"], second["documents"]["deleted"], second["documents"]["unchanged"]) == (
        1,
        1,
        4,
    )
    assert set(shared.paid().values()) == {1}
    by_fleet = shared.contents()
    report = shared.run("verify")
    assert (report["documents"], report["missing"], report["orphaned"], report["repaired"]) == (5, 0, 0, 0)

    shared.kept = {}
    shared.write("1.md", "animal1")
    shared.write("2.md", "animal2")
    with open_runtime(shared.settings(".alone"), "a test") as alone:
        alone.ingestor.ingest(shared.order(), SCOPE)
        shared.write("1.md", "animal1", sections=3)
        (shared.folder / "docs/2.md").unlink()
        alone.ingestor.ingest(shared.order(prune=True), SCOPE)
    in_one_process = shared.contents(".alone")
    assert by_fleet["records"] == in_one_process["records"]
    assert by_fleet["points"] == in_one_process["points"]
    assert by_fleet["payloads"] == in_one_process["payloads"]


def test_a_worker_that_dies_while_it_brings_in_leaves_it_to_another(shared: Project) -> None:
    for n in range(4):
        shared.write(f"{n}.md", f"animal{n}")
    deaths = ",".join(f"{step}:" for step in ("intent", "upserted", "committed", "swapped"))
    worker = ("worker", "--apply", "--concurrency", "1")
    with shared.queue() as queue, shared.running("worker"):
        job = queue.put(shared.order(), SCOPE)
        # a process that dies takes with it what another thread of its is embedding: that must be done by then
        while queue.jobs.documents.waiting(State.EMBEDDED) < 4:
            assert not queue.report(job.job_id, "default").finished
            threading.Event().wait(0.02)
    with (
        shared.running(*worker, reborn=True, RAGSAVER_TEST_DIE=deaths),
        shared.running(*worker, reborn=True, RAGSAVER_TEST_DIE=deaths),
    ):
        done = shared.finished(job.job_id)
    assert (done.state, done.documents.applied) == ("done", 4)
    assert set(shared.paid().values()) == {1}
    report = shared.run("verify")
    assert (report["documents"], report["missing"], report["orphaned"], report["repaired"]) == (4, 0, 0, 0)


def test_while_the_server_is_away_documents_wait_and_go_in_once_it_is_back(shared: Project, server: StandIn) -> None:
    shared.write("0.md", "animal0")
    with shared.running("worker", "--apply") as worker, shared.queue() as queue:
        server.failures = [503] * 1000
        job = queue.put(shared.order(), SCOPE)
        while not any("does not answer" in line for line in worker.said):
            assert not queue.report(job.job_id, "default").finished
            threading.Event().wait(0.02)
        server.failures = []
        done = shared.finished(job.job_id)
    assert (done.state, done.documents.applied, done.errors) == ("done", 1, ())
