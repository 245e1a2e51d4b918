"""`ragsaver migrate` under a running server: it moves to the new half between two requests, and nothing is lost."""

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ragsaver.models.registry import bundled_folder
from tests.commands import as_json, committed_documents, environment, run, serving

DOCUMENTS = 24
DYING = str(Path(__file__).with_name("dying_server.py"))

# The old half's passages are longer than the new half's longest.
WORDS = 100
OLD = "chunking: {min_words: 300, max_words: 400}\n"
NEW = "embedding: {model: other-model}\nchunking: {min_words: 20, max_words: 60}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    for n in range(DOCUMENTS):
        (tmp_path / "docs" / f"{n:02}.md").write_text(f"# Zebra {n}\n\n{text_about(n)}\n")
    shutil.copytree(bundled_folder(), tmp_path / "other-model")
    tokenizer = tmp_path / "other-model" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    (tmp_path / "ragsaver.yaml").write_text(OLD)
    run(tmp_path, "ingest", "docs")
    return tmp_path


def text_about(n: int) -> str:
    return "\n\n".join(
        f"Zebra number {n} walks on day {day}, " + "and eats grass " * 6 + "at noon." for day in range(8)
    )


def words(passage: dict) -> int:
    return len(passage["text"].split())


def half_of(passages: list[dict]) -> str:
    """From which half an answer's passages come: all of one, or it is a mixture."""
    kinds = {"old" if words(passage) > WORDS else "new" for passage in passages}
    return kinds.pop() if len(kinds) == 1 else f"mixture: {[words(one) for one in passages]}"


class Client(threading.Thread):
    """Asks all the time, and keeps what each answer was."""

    def __init__(self, ask: Callable[[httpx.Client], str], url: str) -> None:
        super().__init__()
        self._ask, self._url = ask, url
        self._stopping = threading.Event()
        self._answered = threading.Condition()
        self.answers: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._stopping.is_set():
                try:
                    answer = self._ask(client)
                except Exception as error:  # told by the test's own thread
                    answer = repr(error)
                with self._answered:
                    self.answers.append(answer)
                    self._answered.notify_all()

    def one_more(self) -> None:
        """Wait for an answer to a question that was asked from now on."""
        with self._answered:
            there = len(self.answers)
            assert self._answered.wait_for(lambda: len(self.answers) >= there + 2, timeout=60)

    def stop(self) -> list[str]:
        self._stopping.set()
        self.join(60)
        return self.answers


def search(client: httpx.Client) -> str:
    answer = client.post("/v1/search", json={"query": "which zebra walks on day 3?", "top_k": 8})
    return half_of(answer.json()["passages"]) if answer.status_code == 200 else answer.text


def ask(client: httpx.Client) -> str:
    answer = client.post("/v1/query", json={"query": "When does zebra number 3 eat grass?"})
    return "answered" if answer.status_code == 200 and answer.json()["answer"] else answer.text


def stream(client: httpx.Client) -> str:
    body = {"query": "When does zebra number 3 eat grass?", "stream": True}
    answer = client.post("/v1/query", json=body)
    return "answered" if answer.status_code == 200 and "event: result" in answer.text else answer.text


class Poster:
    """Posts another document with each call."""

    def __init__(self) -> None:
        self.posted: list[str] = []

    def __call__(self, client: httpx.Client) -> str:
        source = f"late-{len(self.posted)}.md"
        document = {"source": source, "text": f"# Late\n\n{text_about(1000 + len(self.posted))}"}
        answer = client.post("/v1/documents", json={"documents": [document]})
        if answer.status_code != 200 or answer.json()["errors"]:
            return answer.text
        self.posted.append(source)
        return "posted"


def sources(project: Path) -> set[str]:
    return {one["source"] for one in as_json(project, "documents", "list")["documents"]}


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
def logged(project: Path, fate: str = "lives") -> Iterator[tuple[str, subprocess.Popen]]:
    """A server that may say something, or die at the switch."""
    process = subprocess.Popen(
        [sys.executable, DYING, "serve", "--port", "0"],
        cwd=project,
        env=environment(project, RAGSAVER_TEST_SWITCH=fate),
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stderr.readline()
    assert "listens on" in line, line + process.stderr.read()
    try:
        yield line.split()[-1], process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@contextmanager
def migrating(project: Path) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ragsaver", "migrate", "--json"],
        cwd=project,
        env=environment(project, RAGSAVER_INGESTION__BATCH_CHUNKS="2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until_it_builds(project: Path, process: subprocess.Popen) -> None:
    while not committed_documents(project / ".ragsaver" / "store-1"):
        assert process.poll() is None, process.communicate()
        threading.Event().wait(0.02)


def until_ready(project: Path, process: subprocess.Popen) -> None:
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
def migrating_under(project: Path, fate: str) -> Iterator[tuple[subprocess.Popen, subprocess.Popen]]:
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
