"""Two ingestions of the same documents at the same time, as two threads of an owner or as two processes do it."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

from ragsaver.ingestion.applying import Step
from ragsaver.ingestion.opening import open_manifest
from ragsaver.ingestion.report import IngestReport
from ragsaver.ingestion.writers import Alone, Writers, turns
from tests.ingestion.bench import SCOPE, Bench, Stopped

_LONG_S = 60.0


class Door:
    """Writers that tell when somebody asks for a turn, and keep it waiting until it may go on."""

    def __init__(self, writers: Writers):
        self._writers = writers
        self.asked = threading.Event()
        self.open = threading.Event()

    def turn(self, tenant: str, *, patience_s: float = _LONG_S) -> AbstractContextManager[None]:
        self.asked.set()
        assert self.open.wait(_LONG_S)
        return self._writers.turn(tenant, patience_s=patience_s)

    def still(self, tenant: str) -> None:
        self._writers.still(tenant)

    def one_of_ours(self) -> AbstractContextManager[object]:
        return self._writers.one_of_ours()

    def close(self) -> None:
        self._writers.close()


class TwoRuns:
    """A run, and another that begins in a thread of its own; either may be stopped after a step.

    :param look: called with each step of either, while it has the turn.
    :param checksum: whether they read every file.
    :ivar order: whose step came, the first's or the second's.
    """

    def __init__(
        self,
        bench: Bench,
        writers: Writers,
        door: Door,
        second: Bench,
        look: Callable[[Step], None],
        *,
        checksum: bool,
    ):
        self._bench = bench
        self._checksum = checksum
        self._writers = writers
        self._door = door
        self._second = second
        self._look = look
        self._thread = ThreadPoolExecutor(1, "second")
        self._running: Future[IngestReport | None] | None = None
        self.order: list[str] = []

    def first(self, stop: Step | None, at: Callable[[Step], None] = lambda step: None) -> IngestReport | None:
        """Runs here; None if it was stopped. `at` is called with each step."""

        def notice(step: Step) -> None:
            self.order.append("first")
            self._look(step)
            at(step)

        return self._run(self._bench, stop, self._writers, notice)

    @property
    def begun(self) -> bool:
        """Whether the second was begun."""
        return self._running is not None

    def begin_second(self, stop: Step | None) -> None:
        """Returns once it has listed the files and asks for its turn. Nothing happens if it was begun before."""

        def notice(step: Step) -> None:
            self.order.append("second")
            self._look(step)

        if self._running is None:
            self._running = self._thread.submit(self._run, self._second, stop, self._door, notice)
            assert self._door.asked.wait(_LONG_S)

    def end_second(self) -> IngestReport | None:
        """Waits for it; None if it was stopped."""
        self._door.open.set()
        assert self._running is not None
        report = self._running.result(_LONG_S)
        assert self.order == sorted(self.order), "one run's steps came between the other's"
        return report

    def close(self) -> None:
        self._door.open.set()
        self._thread.shutdown()

    def _run(
        self, bench: Bench, stop: Step | None, writers: Writers, notice: Callable[[Step], None]
    ) -> IngestReport | None:
        with contextlib.suppress(Stopped):
            ingestor = bench.ingestor(stop, writers=writers, notice=notice)
            return ingestor.ingest(bench.order(prune=True, checksum=self._checksum), SCOPE)
        return None


@contextmanager
def two_runs(
    bench: Bench, *, processes: bool, waits: bool, look: Callable[[Step], None], checksum: bool = True
) -> Iterator[TwoRuns]:
    """
    :param processes: the second has its own manifest and takes turns as another process does, not as a thread.
    :param waits: the second does not go on from the door before `end_second`.
    """
    with contextlib.ExitStack() as opened:
        home = bench.folder / "home"
        alone = Alone()
        writers, others = (turns(bench.settings, home), turns(bench.settings, home)) if processes else (alone, alone)
        door = Door(others)
        second = bench
        if processes:
            second = bench.beside(open_manifest(bench.settings, home))
            opened.callback(second.manifest.close)
        runs = TwoRuns(bench, writers, door, second, look, checksum=checksum)
        opened.callback(runs.close)
        if not waits:
            door.open.set()
        yield runs
