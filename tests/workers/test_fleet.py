"""Workers in processes of their own bring in exactly what one process would, whatever happens to them."""

import json
from pathlib import Path

import httpx
import yaml

from tests.ingestion.sources.site import serving as serving_site
from tests.workers.fleet import ROOT, Project

SERVICES = yaml.safe_load((Path(ROOT) / "docker-compose.yml").read_text())["services"]


def service(name: str) -> list[str]:
    """A service's command without the program's name, on a free port."""
    program, *command = SERVICES[name]["command"]
    assert program == "ragsaver"
    return ["127.0.0.1" if part == "0.0.0.0" else "0" if part == "8765" else part for part in command]


def test_a_fleet_brings_in_what_one_process_does(project: Project):
    for n in range(5):
        project.write(f"{n}.md", f"animal{n}")
    project.write("twin.md", "animal3")
    posted = {"source": "posted.md", "text": (project.folder / "docs/0.md").read_text() + "\nMore.\n"}
    with (
        project.running(*service("converter")),
        project.running(*service("embedder")),
        project.running(*service("api")) as api,
    ):
        first = project.run("ingest", "docs", "--queue", "--wait")
        url = api.said[-1].split()[-1]
        answer = httpx.post(f"{url}/v1/documents", json={"documents": [posted]})
        assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/jobs/{answer.json()['job_id']}")
        project.write("1.md", "animal1", sections=3)
        (project.folder / "docs/2.md").unlink()
        second = project.run("ingest", "docs", "--queue", "--wait", "--prune")
        job = httpx.get(f"{url}{answer.headers['location']}").json()
    assert (first["state"], first["documents"]["applied"], first["errors"]) == ("done", 6, [])
    assert (second["documents"]["applied"], second["documents"]["unchanged"]) == (2, 4)
    assert job["progress"][0]["source"] == "posted.md"
    assert set(project.paid().values()) == {1}
    fleet = sum(project.paid().values())

    project.write("2.md", "animal2")
    alone = {"RAGSAVER_HOME": str(project.folder / ".alone"), "REDIS_URL": ""}
    project.write("1.md", "animal1")
    project.run("ingest", "docs", **alone)
    with project.running(*service("api"), **alone) as api:
        answer = httpx.post(f"{api.said[-1].split()[-1]}/v1/documents", json={"documents": [posted]})
        assert answer.status_code == 200
    project.write("1.md", "animal1", sections=3)
    (project.folder / "docs/2.md").unlink()
    project.run("ingest", "docs", "--prune", **alone)
    assert project.contents() == project.contents(".alone")
    assert sum(project.paid().values()) == 2 * fleet


def test_workers_may_die_at_every_step(project: Project):
    steps = ["converting:docs/0.md", "converted:docs/1.md", "embedding:docs/2.md", "cached:docs/3.md"]
    steps += ["embedded:docs/4.md", "intent:", "upserted:", "committed:", "swapped:", "cleared:"]
    for n in range(6):
        project.write(f"{n}.md", f"animal{n}")
    job = project.run("ingest", "docs", "--queue")["job_id"]
    dying = {"RAGSAVER_TEST_DIE": ",".join(steps), "RAGSAVER_QUEUE__MAX_ATTEMPTS": "20"}
    with (
        project.running("worker", "--queues", "convert,embed", reborn=True, **dying),
        project.running("worker", "--queues", "convert", "--apply", reborn=True, **dying),
    ):
        # Whoever waits owns the index while nobody else does, so that the deaths of the owner stop nothing either.
        while not project.run("jobs", "show", job)["state"] == "done":
            pass
    assert {mark.name for mark in (project.folder / ".marks").iterdir()} == {one.replace("/", "_") for one in steps}
    assert set(project.paid().values()) == {1}
    project.run("ingest", "docs", RAGSAVER_HOME=str(project.folder / ".alone"))
    assert project.contents() == project.contents(".alone")


def test_a_document_that_never_goes_in_is_dead_and_keeps_none_of_the_others_out(project: Project):
    for n in range(3):
        project.write(f"{n}.md", f"animal{n}")
    (project.folder / "docs/broken.pdf").write_bytes(b"%PDF-1.7 and no more")
    poison = {
        "RAGSAVER_TEST_DIE": "+converting:docs/1.md",
        "RAGSAVER_QUEUE__MAX_ATTEMPTS": "2",
        "RAGSAVER_QUEUE__VISIBILITY_TIMEOUT_S": "0.5",
        "RAGSAVER_SOURCES__ALLOW_PRIVATE_ADDRESSES": "true",
    }
    with serving_site() as site:
        url = site.page("/page", "<p>gone for a while", status=503)
        with project.running("worker", "--apply", "--concurrency", "1", reborn=True, **poison):
            job = project.run("ingest", "docs", url, "--queue", "--wait", code=3, **poison)
        assert job["state"] == "incomplete"
        states = {one["source"]: (one["state"], one["attempts"]) for one in job["progress"]}
        assert states["docs/1.md"] == ("dead", 2)
        assert states[url] == ("dead", 2)
        assert states["docs/broken.pdf"][0] == "failed"
        assert {states["docs/0.md"][0], states["docs/2.md"][0]} == {"applied"}
        assert "503" in next(one["error"] for one in job["errors"] if one["source"] == url)

        site.page("/page", "<p>" + "The page is there again and tells of owls and voles. " * 5)
        assert project.run("jobs", "retry", job["job_id"])["retried"] == 3
        healthy = {**poison, "RAGSAVER_TEST_DIE": ""}
        with project.running("worker", "--apply", **healthy) as worker:
            while project.run("jobs", "show", job["job_id"])["state"] != "incomplete":
                assert worker.process.poll() is None
    again = project.run("jobs", "show", job["job_id"])
    assert again["documents"] | {"applied": 4, "failed": 1, "dead": 0} == again["documents"]
    assert project.run("jobs", "list")["jobs"][0]["job_id"] == job["job_id"]
    project.run("jobs", "drop", job["job_id"])
    assert project.run("jobs", "list")["jobs"] == []


def test_a_broker_that_lost_its_data_loses_no_document(project: Project):
    for n in range(4):
        project.write(f"{n}.md", f"animal{n}")
    job = project.run("ingest", "docs", "--queue")["job_id"]
    project.redis.stop()
    project.redis.start()
    with project.running("worker", "--queues", "convert,embed"):
        report = project.run("ingest", "docs", "--queue", "--wait")
        while project.run("jobs", "show", job)["state"] != "done":
            pass
    assert report["state"] == "done"
    assert len(project.contents()["records"]) == 4
    assert set(project.paid().values()) == {1}


def test_a_worker_that_is_told_to_stop_hands_back_what_it_has_not_done(project: Project, redis):
    for n in range(12):
        project.write(f"{n}.md", f"animal{n}")
    job = project.run("ingest", "docs", "--queue")["job_id"]
    with project.running("worker", "--queues", "convert", "--concurrency", "1"):
        pass
    report = project.run("jobs", "show", job)
    assert report["documents"]["queued"] + report["documents"]["converted"] == 12
    assert {one["attempts"] for one in report["progress"]} == {0}
    with project.running("worker", "--apply"):
        assert project.run("ingest", "docs", "--queue", "--wait")["state"] == "done"
    assert set(project.paid().values()) == {1}
    assert json.loads(json.dumps(project.run("jobs", "show", job)))["state"] == "done"
