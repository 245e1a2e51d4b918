"""Run RAGSaver as a user does: in processes of its own, in a project of its own."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.prepared import Process, complete


def afresh(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess:
    """`complete`, by a Python that has imported nothing."""
    return subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)


def environment(project: Path, **more: str) -> dict[str, str]:
    """The environment of a command: the project's own home, nothing of the tester's settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAGSAVER_")}
    return {**clean, "RAGSAVER_HOME": str(project / ".ragsaver"), **more}


def run(project: Path, *arguments: str, code: int = 0, **more: str) -> subprocess.CompletedProcess:
    """Run a command to its end and check its exit code; `more` are environment variables."""
    done = complete(["-m", "ragsaver", *arguments], project, environment(project, **more))
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def as_json(project: Path, *arguments: str, code: int = 0, **more: str) -> dict:
    """The JSON object on a command's last line."""
    return json.loads(run(project, *arguments, "--json", code=code, **more).stdout.splitlines()[-1])


class Started(NamedTuple):
    """A server that listens; `said` is what it said before."""

    process: Process | subprocess.Popen
    url: str
    said: str


@contextmanager
def started(project: Path, *arguments: str, alone: bool = False, **more: str) -> Iterator[Started]:
    """A server on a free port; killed if nobody has ended it before.

    :param alone: by a Python that has imported nothing.
    """
    command = ["-m", "ragsaver", "serve", "--port", "0", *arguments]
    given = environment(project, **{"RAGSAVER_LOGGING__LEVEL": "warning", **more})
    if alone:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=project, env=given, stderr=subprocess.PIPE, text=True
        )
    else:
        process = Process(command, project, given, stderr=subprocess.PIPE)
    try:
        line, before = process.stderr.readline(), ""
        while line and "listens on" not in line:
            line, before = process.stderr.readline(), before + line
        assert line, before
        yield Started(process, line.split()[-1], before)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()


@contextmanager
def serving(
    project: Path,
    *arguments: str,
    stop: signal.Signals = signal.SIGTERM,
    says: str = "",
    alone: bool = False,
    **more: str,
) -> Iterator[str]:
    """A running server on a free port; yields its URL. Told to stop, it must end well, with no word but `says`."""
    with started(project, *arguments, alone=alone, **more) as (process, url, before):
        try:
            yield url
        finally:
            process.send_signal(stop)
            said = before + process.communicate(timeout=30)[1]
    assert process.returncode == 0, said
    others = [line for line in said.splitlines() if "[ragsaver.requests]" not in line]  # of requests that failed
    assert says in said if says else not others, said


def committed_documents(store: Path) -> int:
    """How many documents the manifest in a folder has, while another process may write it."""
    manifest = store / "manifest.sqlite"
    if not manifest.exists():
        return 0
    connection = sqlite3.connect(f"file:{manifest}?mode=ro", uri=True)
    try:
        return int(connection.execute("select count(*) from documents").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()
