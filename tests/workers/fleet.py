"""A project with a few documents, and worker processes that may die, stand still, or be held up."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ragsaver.index.scope import Scope
from ragsaver.ingestion.job_report import JobReport
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.report import IngestReport
from ragsaver.pipelines.runtime import open_runtime
from ragsaver.settings import Settings
from ragsaver.settings_file import load_settings
from ragsaver.workers.queueing import IngestQueue
from tests.commands import environment
from tests.prepared import Process, complete
from tests.redis_server import RedisServer

MORTAL = str(Path(__file__).with_name("mortal.py"))
ROOT = str(Path(__file__).resolve().parents[2])
SCOPE = Scope("default", "default")
T = TypeVar("T")

# Each text goes through the model alone: the int8 model's vectors move a little with their company in a batch.
SMALL = {
    "RAGSAVER_EMBEDDING__BATCH_TOKENS": "64",
    "RAGSAVER_EMBEDDING__THREADS": "1",
    "RAGSAVER_QUEUE__VISIBILITY_TIMEOUT_S": "2",
    "RAGSAVER_QUEUE__BACKOFF_S": "0.1",
    "RAGSAVER_QUEUE__LOOK_EVERY_S": "0.1",
    "RAGSAVER_QUEUE__EMBED_WAIT_MS": "50",
    "RAGSAVER_CHUNKING__MIN_WORDS": "30",
    "RAGSAVER_CHUNKING__MAX_WORDS": "80",
}


def until(look: Callable[[], T], right: Callable[[T], bool]) -> T:
    """What there is to see once it is right."""
    deadline = time.monotonic() + 120
    while not right(seen := look()):
        assert time.monotonic() < deadline, seen
        threading.Event().wait(0.02)
    return seen


class Running:
    """A `ragsaver` process. Where it is `reborn`, one that was killed is started again.

    :param alone: by a Python that has imported nothing.
    """

    def __init__(
        self, project: "Project", command: list[str], *, reborn: bool = False, alone: bool = False, **more: str
    ) -> None:
        self._project, self._command, self._more = project, command, more
        self._reborn, self._alone = reborn, alone
        self.said: list[str] = []
        self._ready = threading.Event()
        self.process = self._start()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _start(self) -> Process | subprocess.Popen:
        command, folder = [MORTAL, *self._command], self._project.folder
        given = self._project.environment(**self._more)
        if self._alone:
            return subprocess.Popen(
                [sys.executable, *command], cwd=folder, env=given, stderr=subprocess.PIPE, text=True
            )
        return Process(command, folder, given, stderr=subprocess.PIPE)

    def _watch(self) -> None:
        while True:
            for line in self.process.stderr:
                self.said.append(line)
                if "is ready" in line or "listens on" in line:
                    self._ready.set()
            if self.process.wait() != -signal.SIGKILL or not self._reborn:
                self._ready.set()
                return
            self._ready.clear()
            self.process = self._start()

    def ready(self) -> "Running":
        assert self._ready.wait(60) and self.process.poll() is None, self.said
        return self

    def stop(self) -> int:
        self._reborn = False
        self.process.send_signal(signal.SIGTERM)
        self._thread.join(60)
        return self.process.wait()


class Project:
    """A folder with documents, a home, and a broker.

    :ivar kept: variables that say where state is kept, if not in the home.
    """

    def __init__(self, folder: Path, redis: RedisServer) -> None:
        self.folder = folder
        self.redis = redis
        self.kept: dict[str, str] = {}
        self.paid_file = folder / ".paid"
        self.paid_file.touch()
        self.steps_file = folder / ".steps"
        (folder / ".marks").mkdir()
        (folder / "docs").mkdir()

    def environment(self, **more: str) -> dict[str, str]:
        return environment(
            self.folder,
            **{
                "PYTHONPATH": ROOT,
                "REDIS_URL": self.redis.url,
                "RAGSAVER_TEST_PAID": str(self.paid_file),
                "RAGSAVER_TEST_STEPS": str(self.steps_file),
                "RAGSAVER_TEST_MARKS": str(self.folder / ".marks"),
                **SMALL,
                **self.kept,
                **more,
            },
        )

    def write(self, name: str, about: str, sections: int = 2) -> None:
        """A document of so many chunks, old enough that its time tells its content."""
        body = "\n\n".join(
            f"## Part {n} of {about}\n\n" + " ".join(f"{about} does thing number {n} on day {i}." for i in range(6))
            for n in range(sections)
        )
        path = self.folder / "docs" / name
        path.write_text(f"# On {about}\n\n{body}\n")
        os.utime(path, (1_700_000_000, 1_700_000_000 + len(about)))

    def run(self, *command: str, code: int = 0, **more: str) -> dict:
        """A command to its end; the JSON it says."""
        done = complete([MORTAL, *command, "--json"], self.folder, self.environment(**more), timeout=60)
        assert done.returncode == code, (done.stdout, done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    @contextmanager
    def running(self, *command: str, reborn: bool = False, alone: bool = False, **more: str) -> Iterator[Running]:
        process = Running(self, list(command), reborn=reborn, alone=alone, **more)
        try:
            yield process if reborn else process.ready()
            process.ready()
        finally:
            code = process.stop()
        assert code == 0, process.said

    def paid(self) -> Counter:
        """How often each text was embedded."""
        return Counter(self.paid_file.read_text().split())

    def steps(self, step: str) -> list[str]:
        """The documents that took a step, in order."""
        lines = self.steps_file.read_text().splitlines()
        return [line.removeprefix(f"{step}:") for line in lines if line.startswith(f"{step}:")]

    def mark(self, name: str) -> None:
        """Tell the processes something, as `mortal` says."""
        (self.folder / ".marks" / name).touch()

    def reached(self) -> None:
        """Wait until a process stands still where it was told to."""
        until((self.folder / ".marks" / "reached").exists, bool)

    def settings(self, home: str = ".ragsaver") -> Settings:
        return load_settings(self.folder, self.environment(RAGSAVER_HOME=str(self.folder / home)))

    @contextmanager
    def queue(self) -> Iterator[IngestQueue]:
        queue = IngestQueue(self.settings())
        try:
            yield queue
        finally:
            queue.close()

    def order(self, *paths: str, **more: object) -> IngestOrder:
        return IngestOrder.model_validate({"paths": paths or ("docs",), "cwd": self.folder, **more})

    def finished(self, job_id: str) -> JobReport:
        """The job when nothing of it waits any more."""
        return self.job(job_id, lambda report: report.finished)

    def job(self, job_id: str, right: Callable[[JobReport], bool]) -> JobReport:
        """The job once it is so."""
        with self.queue() as queue:
            return until(lambda: queue.report(job_id, "default"), right)

    def ingest_alone(self, *paths: str) -> IngestReport:
        """The same by one process that nothing happens to, into a home of its own."""
        with open_runtime(self.settings(".alone"), "a test") as alone:
            return alone.ingestor.ingest(self.order(*paths), SCOPE)

    def contents(self, home: str = ".ragsaver") -> dict[str, object]:
        """All that is in: manifest, points, payloads, vectors. What tells only when it was done is left out."""
        with open_runtime(self.settings(home), "a test") as runtime:
            records = runtime.manifest.documents(SCOPE)
            ids = dict(runtime.index.ids(SCOPE))
            found = runtime.index.search(SCOPE, "thing", runtime.encoder.encode(["x"])[0], 1000)
            vectors = runtime.index.vectors(SCOPE, list(ids))
            assert runtime.manifest.intents(SCOPE) == []
        kept = (name for name in next(iter(records.values()))._fields if name != "ingested_at")
        names = list(kept)
        return {
            "records": {source: [getattr(one, name) for name in names] for source, one in records.items()},
            "points": ids,
            "payloads": {hit.id: dict(hit.payload) for hit in found.dense},
            "vectors": {point: vector.tolist() for point, vector in vectors.items()},
        }
