"""Workers that share no folder with the index's owner, only PostgreSQL and Redis, bring in what one process would."""

from collections.abc import Iterator

import pytest

from ragsaver.pipelines.runtime import open_runtime
from tests.databases import URL, database, needs_postgres
from tests.workers.fleet import SCOPE, Project
from tests.workers.test_fleet import SERVICES, service
from tests.workers.test_migrating import NEW, other_model


@pytest.fixture
def shared(project: Project) -> Iterator[Project]:
    with database("postgres") as made:
        project.kept = {
            "RAGSAVER_DATABASE__URL": URL,
            "RAGSAVER_DATABASE__SCHEMA_NAME": made.schema_name,
            "RAGSAVER_EMBEDDING_CACHE__BACKEND": "redis",
        }
        # What the compose file sets, on servers of the test's own.
        assert project.kept.keys() - {"RAGSAVER_DATABASE__SCHEMA_NAME"} <= set(SERVICES["converter"]["environment"])
        yield project


@needs_postgres
def test_machines_with_homes_of_their_own_bring_in_what_one_process_does(shared: Project):
    for n in range(5):
        shared.write(f"{n}.md", f"animal{n}")
    shared.write("twin.md", "animal3")
    homes = [str(shared.folder / "machines" / name) for name in ("converter", "embedder")]
    with (
        shared.running(*service("converter"), RAGSAVER_HOME=homes[0]),
        shared.running(*service("embedder"), RAGSAVER_HOME=homes[1]),
        shared.running(*service("api")),
    ):
        first = shared.run("ingest", "docs", "--queue", "--wait")
        shared.write("1.md", "animal1", sections=3)
        (shared.folder / "docs/2.md").unlink()
        second = shared.run("ingest", "docs", "--queue", "--wait", "--prune", RAGSAVER_HOME=homes[0])
        jobs = shared.run("jobs", "list", RAGSAVER_HOME=homes[1])["jobs"]
    assert (first["state"], first["documents"]["applied"], first["errors"]) == ("done", 6, [])
    assert (second["documents"]["applied"], second["documents"]["unchanged"]) == (2, 4)
    assert {job["job_id"] for job in jobs} == {first["job_id"], second["job_id"]}
    assert set(shared.paid().values()) == {1}
    by_fleet = shared.contents()

    again = shared.run("ingest", "docs")
    elsewhere = shared.run("ingest", "docs", "--collection", "plain")
    assert (again["documents"]["unchanged"], elsewhere["documents"]["added"]) == (5, 5)
    assert elsewhere["chunks"]["embedded"] == 0
    listed = shared.run("documents", "list", "--collection", "plain")["documents"]
    assert {one["source"] for one in listed} == {f"docs/{name}.md" for name in (0, 1, 3, 4, "twin")}
    report = shared.run("verify")
    assert (report["documents"], report["missing"], report["orphaned"], report["repaired"]) == (5, 0, 0, 0)
    assert list(shared.folder.rglob("*.sqlite*")) == []

    shared.kept = {}
    shared.write("1.md", "animal1")
    shared.write("2.md", "animal2")
    with open_runtime(shared.settings(".alone"), "a test") as alone:
        alone.ingestor.ingest(shared.order(), SCOPE)
        shared.write("1.md", "animal1", sections=3)
        (shared.folder / "docs/2.md").unlink()
        alone.ingestor.ingest(shared.order(prune=True), SCOPE)
    assert by_fleet == shared.contents(".alone")


@needs_postgres
def test_machines_with_homes_of_their_own_go_on_by_the_new_settings_after_a_migration(shared: Project):
    for n in range(3):
        shared.write(f"{n}.md", f"animal{n}")
    other_model(shared)
    homes = [str(shared.folder / "machines" / name) for name in ("converter", "embedder")]
    with (
        shared.running(*service("converter"), RAGSAVER_HOME=homes[0]),
        shared.running(*service("embedder"), RAGSAVER_HOME=homes[1]),
        shared.running(*service("api")),
    ):
        assert shared.run("ingest", "docs", "--queue", "--wait")["documents"]["applied"] == 3
        (shared.folder / "ragsaver.yaml").write_text(NEW)
        assert shared.run("migrate")["switched"]
        shared.write("late.md", "latecomer")
        done = shared.run("ingest", "docs", "--queue", "--wait", RAGSAVER_HOME=homes[0])["documents"]
        assert (done["applied"], done["unchanged"]) == (1, 3)
        assert shared.run("migrate")["reason"] is None
    checked = shared.run("verify")
    assert (checked["documents"], checked["missing"], checked["orphaned"]) == (4, 0, 0)
