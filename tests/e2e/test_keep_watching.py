"""`ragsaver ingest --watch` as a user runs it: it goes on, whatever happens, until it is told to stop."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.commands import as_json, environment, serving, started
from tests.ingestion.sources.site import serving as served
from tests.prepared import Process

ALLOWED = {"RAGSAVER_SOURCES__ALLOW_PRIVATE_ADDRESSES": "true"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, "guide.md", "The guide speaks of zebras.")
    return tmp_path


def write(project: Path, name: str, text: str) -> None:
    file = project / "docs" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)


class Watcher:
    """What a watching command says, line by line."""

    def __init__(self, process: Process):
        self.process = process

    def line(self) -> str:
        line = self.process.stdout.readline()
        assert line, self.process.wait(timeout=60)
        return line

    def documents(self) -> dict[str, int]:
        """The counts of the next run that is told, without those that are nothing."""
        return {name: count for name, count in json.loads(self.line())["documents"].items() if count}

    def error(self) -> str:
        said = self.line()
        assert said.startswith("ragsaver: ")
        assert json.loads(self.line())["error"]["problem"] in said
        return said


@contextmanager
def watching(project: Path, *options: str, stop: signal.Signals = signal.SIGTERM, **more: str) -> Iterator[Watcher]:
    """A command that watches `docs`; told to stop at the end, it must end well and without another word."""
    process = Process(
        ["-m", "ragsaver", "ingest", "docs", "--watch", "--json", *options],
        project,
        environment(project, RAGSAVER_QUEUE__BACKOFF_S="0.5", **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield Watcher(process)
        process.send_signal(stop)
        assert process.communicate(timeout=60)[0] == ""
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_what_changes_is_ingested_until_it_is_stopped(project: Path, stop: signal.Signals):
    with watching(project, stop=stop) as watcher:
        assert watcher.documents() == {"seen": 1, "added": 1}
        write(project, "guide.md", "The guide speaks of horses now.")
        assert watcher.documents() == {"seen": 1, "changed": 1}
    assert as_json(project, "verify")["documents"] == 1


def test_the_last_document_goes_and_the_next_comes_in(project: Path):
    with watching(project, "--prune") as watcher:
        assert watcher.documents() == {"seen": 1, "added": 1}
        (project / "docs" / "guide.md").unlink()
        assert watcher.documents() == {"deleted": 1}
        write(project, "next.md", "The next one speaks of owls.")
        assert watcher.documents() == {"seen": 1, "added": 1}
    assert [one["source"] for one in as_json(project, "documents", "list")["documents"]] == ["docs/next.md"]


def test_a_page_that_a_watched_list_names_no_more_goes(project: Path):
    with served() as site:
        pages = [site.page(f"/{name}", f"<p>The page {name} speaks of owls.</p>") for name in "ab"]
        (project / "pages.urls").write_text("\n".join(pages))
        with watching(project, "--prune", "urls:pages.urls", **ALLOWED) as watcher:
            assert watcher.documents() == {"seen": 3, "added": 3}
            (project / "pages.urls").write_text(pages[0])
            assert watcher.documents() == {"seen": 2, "unchanged": 2, "deleted": 1}
    kept = {one["source"] for one in as_json(project, "documents", "list")["documents"]}
    assert kept == {"docs/guide.md", pages[0]}


def test_an_error_is_told_once_and_the_watching_goes_on(project: Path):
    with watching(project) as watcher:
        assert watcher.documents() == {"seen": 1, "added": 1}
        (project / "docs" / ".ragsaverignore").write_bytes(b"\xff")
        assert "is not UTF-8" in watcher.error()
        write(project, "more.md", "More of it speaks of owls.")
        (project / "docs" / ".ragsaverignore").unlink()
        assert watcher.documents() == {"seen": 2, "added": 1, "unchanged": 1}
    assert as_json(project, "verify")["documents"] == 2


def test_a_folder_that_vanished_keeps_its_documents_and_is_watched_when_it_is_back(project: Path):
    with watching(project, "--prune") as watcher:
        assert watcher.documents() == {"seen": 1, "added": 1}
        (project / "docs").rename(project / "elsewhere")
        assert "there is no such file or folder" in watcher.error()
        (project / "elsewhere" / "guide.md").write_text("The guide speaks of horses now.")
        (project / "elsewhere").rename(project / "docs")
        assert watcher.documents() == {"seen": 1, "changed": 1}
        write(project, "more.md", "More of it speaks of owls.")
        assert watcher.documents() == {"seen": 2, "added": 1, "unchanged": 1}


def test_a_document_that_can_no_longer_be_read_is_told(project: Path):
    with watching(project) as watcher:
        assert watcher.documents() == {"seen": 1, "added": 1}
        write(project, "guide.md", "")
        assert "docs/guide.md" in watcher.line()
        assert watcher.documents() == {"seen": 1, "failed": 1}


def test_a_server_that_is_started_again_is_found_again(project: Path):
    with started(project) as server, watching(project) as watcher:
        assert watcher.documents() == {"seen": 1, "added": 1}
        server.process.terminate()
        server.process.wait(timeout=60)
        write(project, "guide.md", "The guide speaks of horses now.")
        assert "the server that owns the index does not answer" in watcher.error()
        with serving(project):
            assert watcher.documents() == {"seen": 1, "changed": 1}
