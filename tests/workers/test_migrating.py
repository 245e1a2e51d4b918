"""Another model and chunker under running workers: the one that owns the index moves, and the others follow it."""

import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from ragsaver.models.registry import bundled_folder
from tests.qdrant_server import qdrant_server
from tests.workers.fleet import MORTAL, Project

NEW = "embedding: {model: other-model}\nchunking: {embed_headings: false}\n"


@pytest.mark.parametrize("workers", [["--apply"], ["--apply --queues embed", "--queues convert"]])
def test_workers_go_on_by_the_new_settings_after_a_migration(project: Project, workers: list[str]):
    for n in range(3):
        project.write(f"{n}.md", f"animal{n}")
    other_model(project)
    with ExitStack() as running:
        for command in workers:
            running.enter_context(project.running("worker", *command.split()))
        assert project.run("ingest", "docs", "--queue", "--wait")["documents"]["applied"] == 3
        (project.folder / "ragsaver.yaml").write_text(NEW)
        report = project.run("migrate")
        assert (report["switched"], report["documents"]["brought"]) == (True, 3)
        project.write("late.md", "latecomer")
        done = project.run("ingest", "docs", "--queue", "--wait")["documents"]
        assert (done["applied"], done["unchanged"]) == (1, 3)
        assert project.run("migrate")["reason"] is None  # each document is by the new settings
    checked = project.run("verify")
    assert (checked["documents"], checked["missing"], checked["orphaned"]) == (4, 0, 0)
    home = project.folder / ".ragsaver"
    assert [entry.name for entry in home.glob("store-*")] == ["store-1"]
    assert not (home / "index").exists() and not list(home.glob("manifest.sqlite*"))


def test_workers_of_an_index_in_a_server_move_by_themselves(project: Project):
    other_model(project)
    project.write("0.md", "animal0")
    with qdrant_server() as server, ExitStack() as running:
        index = f"index: {{engine: qdrant, url: {server.url}, grpc_port: null}}\n"
        (project.folder / "ragsaver.yaml").write_text(index)
        for command in (["--apply", "--queues", "embed"], ["--queues", "convert"]):
            running.enter_context(project.running("worker", *command))
        assert project.run("ingest", "docs", "--queue", "--wait")["documents"]["applied"] == 1
        (project.folder / "ragsaver.yaml").write_text(NEW + index)
        assert project.run("migrate")["switched"]
        project.write("late.md", "latecomer")
        done = project.run("ingest", "docs", "--queue", "--wait")["documents"]
        assert (done["applied"], done["unchanged"]) == (1, 1)
        assert project.run("migrate")["reason"] is None
        checked = project.run("verify")
        assert (checked["documents"], checked["missing"], checked["orphaned"]) == (2, 0, 0)


def other_model(project: Project) -> None:
    shutil.copytree(bundled_folder(), project.folder / "other-model")
    tokenizer = project.folder / "other-model" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")


def test_an_owner_that_can_t_start_ends_though_it_looks_for_a_new_index_already(project: Project):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [sys.executable, MORTAL, "worker", "--apply", "--metrics-port", str(taken.getsockname()[1])],
            cwd=project.folder,
            env=project.environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 2 and "--metrics-port" in done.stderr, done.stderr
