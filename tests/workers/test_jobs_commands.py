"""`ragsaver jobs` as a user runs it: what is dead, what is tried again, what is forgotten."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ragsaver.index.scope import Scope
from ragsaver.ingestion import document_line
from ragsaver.ingestion import jobs as job_store
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.jobs import JobStore
from ragsaver.ingestion.queued_document import NewDocument
from tests.commands import as_json, run

DEFAULT = Scope("default", "default")


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[JobStore]:
    with closing(JobStore(tmp_path / ".ragsaver" / "jobs.sqlite")) as store:
        yield store


def put(jobs: JobStore, scope: Scope, **states: State) -> str:
    """A job of documents that are so far; what failed or is dead says why."""
    documents = [
        NewDocument(f"{name}.md", text="Owls.", state=state, error=f"{name} hung" if state is State.DEAD else None)
        for name, state in states.items()
    ]
    job = jobs.create(scope, None, 100)
    jobs.add(job, documents, first=0, lease_s=60)
    jobs.listed(job)
    return job


def test_the_dead_of_all_jobs_are_listed_those_that_died_last_first(
    tmp_path: Path, jobs: JobStore, monkeypatch: pytest.MonkeyPatch
):
    clock = iter(range(1_000, 2_000))
    monkeypatch.setattr(job_store, "now", lambda: float(next(clock)))
    assert run(tmp_path, "jobs", "list", "--dead").stdout == "No document is dead.\n"
    first = put(jobs, DEFAULT, a=State.DEAD, fine=State.APPLIED)
    put(jobs, Scope("other", "default"), theirs=State.DEAD)
    second = put(jobs, Scope("default", "guides"), b=State.DEAD, c=State.FAILED, d=State.QUEUED)
    put(jobs, DEFAULT, fine=State.APPLIED)
    told = as_json(tmp_path, "jobs", "list", "--dead")["dead"]
    assert [(one["job_id"], one["collection"], one["source"], one["error"]) for one in told] == [
        (second, "guides", "b.md", "b hung"),
        (first, "default", "a.md", "a hung"),
    ]
    assert told[0]["died_at"] > told[1]["died_at"]
    assert len(as_json(tmp_path, "jobs", "list", "--dead", "--limit", "1")["dead"]) == 1
    lines = run(tmp_path, "jobs", "list", "--dead").stdout.splitlines()
    assert len(lines) == 2 and lines[0].startswith(second) and lines[0].endswith("guides: b.md (0 attempts): b hung")


def test_one_that_could_not_be_brought_in_died_when_it_was_given_up(jobs: JobStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(document_line, "now", lambda: 5_000.0)
    job = put(jobs, DEFAULT, a=State.EMBEDDED)
    assert jobs.documents.not_applied(f"{job}-0", "the disk is full", wait_s=600.0, max_attempts=1)
    (dead,) = jobs.dead("default")
    assert (dead.died_at, dead.attempts, dead.error) == (5_000.0, 1, "the disk is full")


def test_what_failed_or_is_dead_is_queued_again_and_nothing_else(tmp_path: Path, jobs: JobStore):
    job = put(jobs, DEFAULT, a=State.DEAD, b=State.FAILED, c=State.APPLIED)
    other = put(jobs, DEFAULT, d=State.DEAD)
    assert "2 documents are queued again" in run(tmp_path, "jobs", "retry", job).stdout
    assert as_json(tmp_path, "jobs", "retry", job) == {"retried": 0}
    states = {one["source"]: one["state"] for one in as_json(tmp_path, "jobs", "show", job)["progress"]}
    assert states == {"a.md": "queued", "b.md": "queued", "c.md": "applied"}
    assert [one["job_id"] for one in as_json(tmp_path, "jobs", "list", "--dead")["dead"]] == [other]


def test_a_job_that_is_dropped_is_forgotten_with_its_dead_and_others_stay(tmp_path: Path, jobs: JobStore):
    job, other = put(jobs, DEFAULT, a=State.DEAD, b=State.QUEUED), put(jobs, DEFAULT, c=State.DEAD)
    theirs = put(jobs, Scope("other", "default"), d=State.DEAD)
    assert as_json(tmp_path, "jobs", "drop", job) == {"dropped": job}
    assert [one["job_id"] for one in as_json(tmp_path, "jobs", "list")["jobs"]] == [other]
    assert [one["job_id"] for one in as_json(tmp_path, "jobs", "list", "--dead")["dead"]] == [other]
    assert jobs.documents.waiting(State.QUEUED) == 0
    for unknown in (job, theirs):
        for command in ("drop", "retry"):
            assert "no such job" in run(tmp_path, "jobs", command, unknown, code=2).stderr
    assert len(jobs.dead("other")) == 1
    assert f"{other} is forgotten" in run(tmp_path, "jobs", "drop", other).stdout
    assert run(tmp_path, "jobs", "list").stderr == "There is no job.\n"
    assert run(tmp_path, "jobs", "list", "--json").stderr == ""
