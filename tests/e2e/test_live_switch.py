"""`ragsaver migrate` under a running server: it moves to the new half between two requests, and nothing is lost."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.commands import as_json, committed_documents, environment, run, serving
from tests.e2e.zebras import DOCUMENTS, NEW, OLD, Client, Poster, ask, make, search, sources, stream
from tests.prepared import Process

DYING = str(Path(__file__).with_name("dying_server.py"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make(tmp_path)
    return tmp_path


def cleaned(home: Path) -> None:
    assert (home / "current").read_text().strip() == "store-1"
    assert [entry.name for entry in home.glob("store-*")] == ["store-1"]
    assert not (home / "index").exists() and not list(home.glob("manifest.sqlite*"))


def test_a_server_answers_through_the_switch_from_one_half_at_a_time_and_loses_no_document(project: Path):
    poster = Poster()
    with serving(project) as url:
        clients = [Client(one, url) for one in (search, ask, stream, poster)]
        searching = clients[0]
        for client in clients:
            client.start()
        searching.one_more()
        (project / "ragsaver.yaml").write_text(NEW)
        searching.one_more()
        report = as_json(project, "migrate")
        searching.one_more()
        posting = clients[-1]
        posting.one_more()
        answers, *others, posts = [client.stop() for client in clients]
        assert report["switched"] and report["waiting"] is None
        assert set(answers) == {"old", "new"} and answers == sorted(answers, reverse=True), answers
        assert [set(one) for one in others] == [{"answered"}, {"answered"}]
        assert set(posts) == {"posted"}
        assert as_json(project, "ingest", "docs")["documents"]["unchanged"] == DOCUMENTS
        assert sources(project) == {*(f"docs/{n:02}.md" for n in range(DOCUMENTS)), *poster.posted}
    cleaned(project / ".ragsaver")
    checked = as_json(project, "verify")
    assert (checked["documents"], checked["missing"], checked["orphaned"]) == (DOCUMENTS + len(poster.posted), 0, 0)
    with serving(project) as url, httpx.Client(base_url=url) as client:
        assert search(client) == "new"


def test_a_second_migration_under_the_same_server_takes_the_next_folder(project: Path):
    with serving(project) as url, httpx.Client(base_url=url) as client:
        for text, half in ((NEW, "new"), (OLD, "old")):
            (project / "ragsaver.yaml").write_text(text)
            assert as_json(project, "migrate")["switched"]
            assert search(client) == half
    assert [entry.name for entry in (project / ".ragsaver").glob("store-*")] == ["store-2"]


def test_a_server_whose_own_settings_mean_something_else_says_so_and_goes_on(project: Path):
    with logged(project) as (url, _), httpx.Client(base_url=url) as client:
        report = as_json(project, "migrate", RAGSAVER_CHUNKING__MIN_WORDS="20", RAGSAVER_CHUNKING__MAX_WORDS="60")
        assert not report["switched"] and "its own settings" in report["waiting"]
        assert search(client) == "old"
        assert as_json(project, "migrate")["reason"] is None
        assert not (project / ".ragsaver" / "store-1").exists()


@contextmanager
def logged(project: Path, fate: str = "lives") -> Iterator[tuple[str, Process]]:
    """A server that may say something, or die at the switch."""
    given = environment(project, RAGSAVER_TEST_SWITCH=fate)
    process = Process([DYING, "serve", "--port", "0"], project, given, stderr=subprocess.PIPE)
    line = process.stderr.readline()
    assert "listens on" in line, line + process.stderr.read()
    try:
        yield line.split()[-1], process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@contextmanager
def migrating(project: Path) -> Iterator[Process]:
    process = Process(
        ["-m", "ragsaver", "migrate", "--json"],
        project,
        environment(project, RAGSAVER_INGESTION__BATCH_CHUNKS="2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until_it_builds(project: Path, process: Process) -> None:
    while not committed_documents(project / ".ragsaver" / "store-1"):
        assert process.poll() is None, process.communicate()
        threading.Event().wait(0.02)


def until_ready(project: Path, process: Process) -> None:
    while not (project / ".ragsaver" / "store-1" / "ready.json").exists():
        assert process.poll() is None, process.communicate()
        threading.Event().wait(0.02)


@pytest.mark.parametrize("fate", ["dies before", "dies after"])
def test_a_server_that_is_killed_at_the_switch_is_followed_by_one_that_serves_the_new_half(project: Path, fate: str):
    with migrating_under(project, fate) as (migration, server):
        until_ready(project, migration)
        migration.kill()
        assert server.wait(60) == -signal.SIGKILL
    home = project / ".ragsaver"
    assert (home / "current").exists() == (fate == "dies after")
    with serving(project) as url, httpx.Client(base_url=url) as client:
        assert search(client) == "new"
    cleaned(home)
    assert as_json(project, "verify")["documents"] == DOCUMENTS


@contextmanager
def migrating_under(project: Path, fate: str) -> Iterator[tuple[Process, Process]]:
    """A server that was started with the old settings, and a migration to the new ones."""
    with logged(project, fate) as (_, server):
        (project / "ragsaver.yaml").write_text(NEW)
        with migrating(project) as migration:
            yield migration, server


@pytest.mark.parametrize("moment", [until_it_builds, until_ready])
def test_a_migration_completes_without_a_server_that_is_killed_meanwhile(project: Path, moment: Callable):
    with migrating_under(project, "dies before") as (migration, server):
        moment(project, migration)
        server.kill()
        said, _ = migration.communicate(timeout=120)
        assert json.loads(said.splitlines()[-1])["switched"]
    cleaned(project / ".ragsaver")
    with serving(project) as url, httpx.Client(base_url=url) as client:
        assert search(client) == "new"


def test_a_migration_that_is_killed_leaves_the_server_as_it_was_and_is_completed_by_the_next(project: Path):
    with migrating_under(project, "lives") as (migration, _):
        until_it_builds(project, migration)
        migration.kill()
        migration.communicate()
        assert not (project / ".ragsaver" / "current").exists()
        report = as_json(project, "migrate")
        assert report["switched"] and report["documents"]["brought"] == DOCUMENTS
    cleaned(project / ".ragsaver")


def test_a_server_that_is_started_again_in_the_middle_serves_the_old_half_and_moves_at_the_end(project: Path):
    with migrating_under(project, "lives") as (migration, server):
        until_it_builds(project, migration)
        for process in (server, migration):
            process.kill()
            process.communicate()
    with serving(project, says="the old one serves") as url, httpx.Client(base_url=url) as client:
        assert search(client) == "old"
        poster = Poster()
        assert poster(client) == "posted"
        assert as_json(project, "migrate")["switched"]
        assert search(client) == "new"
        assert sources(project) == {*(f"docs/{n:02}.md" for n in range(DOCUMENTS)), *poster.posted}
    cleaned(project / ".ragsaver")


def test_of_two_migrations_at_once_one_goes_on(project: Path):
    with migrating_under(project, "lives") as (migration, _):
        until_it_builds(project, migration)
        refused = as_json(project, "migrate", code=2)["error"]
        assert "another `ragsaver migrate` is under way" in refused["problem"]
        said, _ = migration.communicate(timeout=120)
        assert json.loads(said.splitlines()[-1])["switched"]
    cleaned(project / ".ragsaver")


def test_a_full_disk_at_the_switch_leaves_the_server_with_the_old_half_and_is_told(project: Path):
    with migrating_under(project, "full disk") as (migration, _):
        said, _ = migration.communicate(timeout=120)
        report = json.loads(said.splitlines()[-1])
        assert not report["switched"] and "No space left" in report["waiting"]
        assert "Zebra" in run(project, "ask", "When does zebra number 3 eat grass?").stdout
    assert not (project / ".ragsaver" / "current").exists()
    assert as_json(project, "migrate")["switched"]
    cleaned(project / ".ragsaver")
