"""Ctrl-C, `kill -9`, a full disk, a second owner, another model: a clear word, and the next run completes it."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragsaver.models.registry import bundled_folder
from tests.commands import as_json, committed_documents, environment, run, serving
from tests.prepared import Process

DOCUMENTS = 120
# So that there is a middle to stop in.
SMALL_STEPS = {"RAGSAVER_INGESTION__BATCH_CHUNKS": "4"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_documents(tmp_path / "docs")
    return tmp_path


def write_documents(folder: Path) -> None:
    folder.mkdir()
    for n in range(DOCUMENTS):
        words = " ".join(f"word{n}x{i}" for i in range(120))
        (folder / f"{n:03}.md").write_text(f"# Zebra {n}\n\nZebra number {n} lives here. {words}\n")


class Terminal:
    """What a command shows on a terminal of its own."""

    def __init__(self) -> None:
        self._screen, self.given = pty.openpty()
        self._shown = ""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, pattern: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: re.search(pattern, self._shown), timeout=120), self._shown

    def close(self) -> str:
        """All that was shown, once the command has ended."""
        os.close(self.given)
        self._reader.join()
        os.close(self._screen)
        return self._shown

    def _read(self) -> None:
        try:
            while data := os.read(self._screen, 65_536):
                with self._changed:
                    self._shown += data.decode()
                    self._changed.notify_all()
        except OSError:  # how Linux says that nobody holds the other end any more
            pass


class Ingestion:
    """An ingestion that has committed something and is not done: its progress bar says so."""

    def __init__(self, project: Path) -> None:
        self._terminal = Terminal()
        self.process = Process(
            ["-m", "ragsaver", "ingest", "docs", "--json"],
            project,
            environment(project, **SMALL_STEPS),
            stdout=subprocess.PIPE,
            stderr=self._terminal.given,
        )
        self._terminal.wait_for(rf"[1-9]\d* chunks embedded .* [1-9]\d*/{DOCUMENTS}")
        while not committed_documents(project / ".ragsaver"):  # what is embedded is written by another thread
            time.sleep(0.005)

    def stop(self, signal_number: signal.Signals) -> tuple[dict, str]:
        self.process.send_signal(signal_number)
        return self.end()

    def end(self) -> tuple[dict, str]:
        """The JSON of the last line, if there is any, and what the terminal showed."""
        out, _ = self.process.communicate(timeout=120)
        return json.loads(out.splitlines()[-1]) if out else {}, self._terminal.close()


def completed(project: Path) -> None:
    """The next run completes what was begun, and pays only for the rest."""
    before = committed_documents(project / ".ragsaver")
    assert 0 < before < DOCUMENTS
    report = as_json(project, "ingest", "docs")
    assert report["documents"]["unchanged"] >= before
    assert report["documents"]["unchanged"] + report["documents"]["added"] == DOCUMENTS
    assert report["chunks"]["embedded"] <= DOCUMENTS - before
    checked = as_json(project, "verify")
    assert (checked["documents"], checked["missing"], checked["orphaned"]) == (DOCUMENTS, 0, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_in_the_middle_is_completed_by_the_next_run(project: Path, number: signal.Signals):
    ingestion = Ingestion(project)
    told, said = ingestion.stop(number)
    assert ingestion.process.returncode == 3
    assert told["error"]["problem"] == "stopped"
    assert "run the same command again to complete it" in said and "Traceback" not in said
    completed(project)


def test_a_killed_ingestion_is_completed_by_the_next_run(project: Path):
    Ingestion(project).stop(signal.SIGKILL)
    completed(project)


def test_a_caller_who_leaves_stops_the_server_s_ingestion(project: Path):
    with serving(project, **SMALL_STEPS):
        ingestion = Ingestion(project)
        ingestion.stop(signal.SIGINT)
        assert ingestion.process.returncode == 3
        # the server answers on, and its ingestion has ended: the next one is not queued behind it
        completed(project)


def test_a_server_that_is_told_to_stop_does_not_wait_for_an_ingestion_s_end(project: Path):
    with serving(project, **SMALL_STEPS):
        ingestion = Ingestion(project)
    told, said = ingestion.end()
    assert ingestion.process.returncode == 3
    assert told["error"]["type"] == "urn:ragsaver:problem:stopped"
    assert "run the same command again to complete it" in said
    completed(project)


def test_a_second_command_learns_who_holds_the_index(project: Path):
    ingestion = Ingestion(project)
    ingestion.process.send_signal(signal.SIGSTOP)
    try:
        error = as_json(project, "ask", "Where does zebra number 3 live?", code=2)["error"]
    finally:
        ingestion.process.send_signal(signal.SIGCONT)
    assert "ragsaver ingest" in error["problem"] and str(ingestion.process.pid) in error["problem"]
    assert error["type"] == "urn:ragsaver:problem:index-locked" and error["remedy"]
    assert ingestion.end()[0]["documents"]["added"] == DOCUMENTS
    assert ingestion.process.returncode == 0


def test_an_index_of_another_model_is_refused_and_left_as_it_is(project: Path):
    for name in sorted(os.listdir(project / "docs"))[3:]:
        (project / "docs" / name).unlink()
    run(project, "ingest", "docs")
    other = project / "other-model"
    shutil.copytree(bundled_folder(), other)
    tokenizer = other / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    for command in (("ingest", "docs"), ("ask", "zebra?"), ("search", "zebra"), ("verify",), ("serve",)):
        said = run(project, *command, code=2, RAGSAVER_EMBEDDING__MODEL=str(other)).stderr
        assert "the index was built by model" in said and "Set `embedding`" in said, said
    assert as_json(project, "verify")["missing"] == 0
    assert "lives here" in as_json(project, "ask", "Where does zebra number 2 live?")["answer"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that is soon full."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_named_and_nothing_is_lost(small_disk: Path):
    write_documents(small_disk / "docs")
    ingestion = Ingestion(small_disk)
    filler = small_disk / "filler"
    with filler.open("wb") as file, pytest.raises(OSError, match="No space left"):
        while True:
            os.write(file.fileno(), b"\0" * 2**20)
    _, said = ingestion.end()
    assert ingestion.process.returncode == 2, said
    assert "Free some space" in said and "Traceback" not in said
    filler.unlink()
    completed(small_disk)


def test_a_disk_that_is_full_from_the_start_is_named(small_disk: Path):
    write_documents(small_disk / "docs")
    with (small_disk / "filler").open("wb") as file, pytest.raises(OSError, match="No space left"):
        while True:
            os.write(file.fileno(), b"\0" * 2**20)
    said = run(small_disk, "ingest", "docs", code=2).stderr
    assert "Free some space" in said and "Traceback" not in said
