"""Workers in processes of their own bring in exactly what one process would, whatever happens to them."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
import yaml

from ragsaver.errors import BrokerUnavailable
from ragsaver.index.scope import Scope
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.runtime import open_runtime
from ragsaver.workers.app import CONVERT
from tests.ingestion.sources.site import serving as serving_site
from tests.redis_server import COMPOSE
from tests.workers.fleet import SCOPE, Project

SERVICES = yaml.safe_load(COMPOSE.read_text())["services"]
CONVERTER = ("worker", "--queues", "convert", "--concurrency", "1")


def service(name: str, *, shared_index: bool = False) -> list[str]:
    """A service's command without the program's name, on a free port of the loopback.

    :param shared_index: whether the index is in a server, as the compose file has it; else the api alone owns it.
    """
    program, *command = SERVICES[name]["command"]
    assert program == "ragsaver"
    command = [part for part in command if part != "--apply" or shared_index]
    return ["127.0.0.1" if part == "0.0.0.0" else "0" if part == "8765" else part for part in command]


def healthy(project: Project, name: str, port: str) -> bool:
    """Whether a service's own check says so."""
    kind, *command = SERVICES[name]["healthcheck"]["test"]
    line = command[0].replace("$$", "$") if kind == "CMD-SHELL" else None
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = project.environment(PATH=path, HOSTNAME=os.uname().nodename)
    arguments = ["sh", "-c", line] if line else [part.replace("8765", port) for part in command]
    return subprocess.run(arguments, cwd=project.folder, env=environment, capture_output=True).returncode == 0


def test_a_fleet_brings_in_what_one_process_does(project: Project):
    """The services of the compose file, as it starts them."""
    for n in range(5):
        project.write(f"{n}.md", f"animal{n}")
    project.write("twin.md", "animal3")
    text = (project.folder / "docs/0.md").read_text() + "\nMore.\n"
    posted = {"source": "posted.md", "text": text, "metadata": {"team": "owls"}}
    with (
        project.running(*service("converter"), alone=True),
        project.running(*service("embedder"), alone=True),
        project.running(*service("api"), alone=True) as api,
        project.queue() as queue,
    ):
        url = api.said[-1].split()[-1]
        assert all(healthy(project, name, url.rpartition(":")[2]) for name in ("api", "converter"))
        first = project.run("ingest", "docs", "--queue", "--wait")
        answer = httpx.post(f"{url}/v1/documents", json={"documents": [posted]})
        assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/jobs/{answer.json()['job_id']}")
        project.finished(answer.json()["job_id"])
        project.write("1.md", "animal1", sections=3)
        (project.folder / "docs/2.md").unlink()
        second = project.finished(queue.put(project.order(prune=True), SCOPE).job_id)
        job = httpx.get(f"{url}{answer.headers['location']}").json()
    assert (first["state"], first["documents"]["applied"], first["errors"]) == ("done", 6, [])
    assert (second.documents.applied, second.documents.unchanged) == (2, 4)
    assert [(one["source"], one["state"]) for one in job["progress"]] == [("posted.md", "applied")]
    assert set(project.paid().values()) == {1}

    project.write("1.md", "animal1")
    project.write("2.md", "animal2")
    with open_runtime(project.settings(".alone"), "a test") as alone:
        undisturbed = [
            alone.ingestor.ingest(project.order(), SCOPE),
            alone.ingestor.ingest_texts([PostedDocument(**posted)], SCOPE),
        ]
        project.write("1.md", "animal1", sections=3)
        (project.folder / "docs/2.md").unlink()
        undisturbed.append(alone.ingestor.ingest(project.order(prune=True), SCOPE))
    by_fleet = [first["embedding"]["tokens"], job["embedding"]["tokens"], second.embedding.tokens]
    assert by_fleet == [one.embedding.tokens for one in undisturbed]
    assert project.contents() == project.contents(".alone")


def test_a_worker_may_be_killed_in_every_stage(project: Project):
    deaths = ["converting:docs/0.md", "cached:docs/1.md", "committed:"]
    die = {"RAGSAVER_TEST_DIE": ",".join(deaths)}
    for n in range(4):
        project.write(f"{n}.md", f"animal{n}")
    with project.queue() as queue:
        job = queue.put(project.order(), SCOPE)
    # The embedder has a process of its own: one that dies while it embeds has paid for what nobody has.
    with (
        project.running("worker", "--queues", "embed", "--concurrency", "1", reborn=True, **die),
        project.running("worker", "--queues", "convert", "--apply", reborn=True, **die),
    ):
        report = project.finished(job.job_id)
    assert (report.state, report.documents.applied) == ("done", 4)
    assert {mark.name for mark in (project.folder / ".marks").iterdir()} == {one.replace("/", "_") for one in deaths}
    assert set(project.paid().values()) == {1}
    assert report.embedding == project.ingest_alone().embedding
    assert project.contents() == project.contents(".alone")


def test_a_document_that_never_goes_in_is_dead_and_keeps_none_of_the_others_out(project: Project):
    for n in range(3):
        project.write(f"{n}.md", f"animal{n}")
    (project.folder / "docs/broken.pdf").write_bytes(b"%PDF-1.7 and no more")
    poison = {
        "RAGSAVER_TEST_DIE": "+converting:docs/1.md",
        "RAGSAVER_QUEUE__MAX_ATTEMPTS": "2",
        "RAGSAVER_QUEUE__VISIBILITY_TIMEOUT_S": "0.5",
    }
    project.kept["RAGSAVER_SOURCES__ALLOW_PRIVATE_ADDRESSES"] = "true"
    with (
        serving_site() as site,
        project.running("worker", "--apply", "--concurrency", "1", reborn=True, **poison),
    ):
        url = site.page("/page", "<p>gone for a while", status=503)
        job = project.run("ingest", "docs", url, "--queue", "--wait", code=3, **poison)
        states = {one["source"]: (one["state"], one["attempts"]) for one in job["progress"]}
        assert job["state"] == "incomplete"
        assert (states["docs/1.md"], states[url]) == (("dead", 2), ("dead", 2))
        assert states["docs/broken.pdf"][0] == "failed"
        assert {states["docs/0.md"][0], states["docs/2.md"][0]} == {"applied"}
        assert re.search("503", next(one["error"] for one in job["errors"] if one["source"] == url))

        site.page("/page", "<p>" + "The page is there again and tells of owls and voles. " * 5)
        project.mark("healed")
        assert project.run("jobs", "retry", job["job_id"])["retried"] == 3
        again = project.finished(job["job_id"])
        alone = project.ingest_alone("docs", url)
    assert again.embedding == alone.embedding
    assert project.contents() == project.contents(".alone")
    assert (again.documents.applied, again.documents.failed, again.documents.dead) == (4, 1, 0)


def test_a_broker_that_lost_its_data_and_a_worker_that_stops_lose_no_document(project: Project):
    for n in range(10):
        project.write(f"{n}.md", f"animal{n}", sections=1)
    with project.queue() as queue:
        job = queue.put(project.order(), SCOPE).job_id
    project.redis.stop()
    project.redis.lose()
    project.redis.start()
    with project.running(*CONVERTER):
        pass  # told to stop as soon as it is ready, in the middle or before anything
    with project.queue() as queue:
        stopped = queue.report(job, "default")
    assert stopped.documents.queued + stopped.documents.converted == 10
    assert {one.attempts for one in stopped.progress} == {0}
    assert project.run("ingest", "docs", "--queue", RAGSAVER_QUEUE__MAX_WAITING_DOCUMENTS="5", code=2)["error"]
    with project.running("worker", "--apply") as worker:
        project.redis.stop()
        project.redis.lose()
        project.redis.start()
        report = project.finished(job)
        assert report.documents.applied == 10
        assert worker.process.poll() is None
    assert set(project.paid().values()) == {1}
    assert report.embedding == project.ingest_alone().embedding
    assert project.contents() == project.contents(".alone")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_broker_that_begins_again_with_its_data_has_messages_and_vectors(project: Project, how: signal.Signals):
    """The Redis of the compose file, with its own command line."""
    # A message that is lost would be sent again long after this test has given up.
    project.kept = {"RAGSAVER_EMBEDDING_CACHE__BACKEND": "redis", "RAGSAVER_QUEUE__VISIBILITY_TIMEOUT_S": "600"}
    for n in range(5):
        project.write(f"{n}.md", f"animal{n}")
    with project.queue() as queue:
        job = queue.put(project.order(), SCOPE).job_id
        with (
            project.running(*CONVERTER, RAGSAVER_TEST_WAIT="converting:docs/2.md"),
            project.running("worker", "--queues", "embed", "--concurrency", "1"),
        ):
            project.reached()
            project.job(job, lambda report: report.documents.embedded == 2)
            project.redis.stop(how)
            with pytest.raises(BrokerUnavailable):
                queue.broker.check()
            project.redis.start()
            assert queue.broker.backlog(CONVERT) > 0
            project.mark("go_on")
            project.job(job, lambda report: report.documents.embedded == 5)
        with project.running("worker", "--apply"):
            report = project.finished(job)
    assert (report.state, report.documents.seen, report.documents.applied) == ("done", 5, 5)
    assert set(project.paid().values()) == {1}
    checked = project.run("verify")
    assert (checked["documents"], checked["missing"], checked["orphaned"], checked["repaired"]) == (5, 0, 0, 0)
    by_fleet = project.contents()

    project.kept = {}
    assert project.ingest_alone().embedding == report.embedding
    assert by_fleet == project.contents(".alone")


def test_a_message_that_is_delivered_again_while_its_document_is_converted_does_nothing(project: Project):
    for n in range(2):
        project.write(f"{n}.md", f"animal{n}")
    with project.queue() as queue, project.running(*CONVERTER, RAGSAVER_TEST_WAIT="converting:docs/0.md"):
        first = queue.put(project.order("docs/0.md"), SCOPE).job_id
        project.reached()
        with project.running("worker", "--apply", "--concurrency", "1"):
            queue.broker.send(CONVERT, 1)
            # What comes after it is done after it.
            second = project.finished(queue.put(project.order("docs/1.md"), SCOPE).job_id)
            assert queue.report(first, "default").documents.queued == 1
            project.mark("go_on")
            report = project.finished(first)
            assert report.documents.applied == 1
    assert project.steps("converting") == ["docs/0.md", "docs/1.md"]
    assert set(project.paid().values()) == {1}
    alone = project.ingest_alone().embedding
    assert report.embedding.tokens + second.embedding.tokens == alone.tokens
    assert report.embedding.cached_tokens == second.embedding.cached_tokens == alone.cached_tokens == 0
    assert project.contents() == project.contents(".alone")


def test_a_worker_that_hung_and_goes_on_changes_nothing_that_another_has_brought_in(project: Project):
    project.write("0.md", "animal0")
    hung = {"RAGSAVER_TEST_WAIT": "converting:docs/0.md", "RAGSAVER_QUEUE__MAX_HOLD_S": "0.1"}
    with project.queue() as queue, project.running(*CONVERTER, **hung):
        job = queue.put(project.order(), SCOPE).job_id
        project.reached()
        with project.running("worker", "--apply"):
            assert project.finished(job).documents.applied == 1
        project.mark("go_on")
    assert project.steps("converting") == ["docs/0.md"] * 2
    report = project.finished(job)
    assert report.documents.applied == 1
    assert set(project.paid().values()) == {1}
    assert report.embedding == project.ingest_alone().embedding
    assert project.contents() == project.contents(".alone")


def test_workers_take_high_priorities_first_and_each_tenant_in_turn(project: Project):
    for n in range(6):
        project.write(f"{n}.md", f"animal{n}", sections=1)
    project.write("urgent.md", "fire", sections=1)
    with project.queue() as queue:
        many = queue.put(project.order("docs"), SCOPE).job_id
        other = queue.put_texts([PostedDocument("other.md", "Owls of another tenant.")], Scope("other", "default"))
    (project.folder / "docs/urgent.md").write_text("# On fire\n\nIt is spreading to the owls.\n")
    urgent = project.run("ingest", "docs/urgent.md", "--queue", "--priority", "high")
    assert urgent["priority"] == "high"
    with project.running("worker", "--apply", "--concurrency", "1"), project.queue() as queue:
        project.finished(many)
        project.finished(urgent["job_id"])
        while not queue.report(other.job_id, "other").finished:
            threading.Event().wait(0.02)
    first = project.steps("converting")
    assert first[:3] == ["docs/urgent.md", "docs/0.md", "other.md"]
    assert sorted(first[3:]) == [*(f"docs/{n}.md" for n in range(1, 6)), "docs/urgent.md"]


def test_an_embedding_worker_that_would_fork_is_refused(project: Project):
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "ragsaver.workers", "worker", "-Q", "embed", "--pool", "prefork"],
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "does not survive a fork" in done.stderr and "--pool threads" in done.stderr
