"""What if a file hangs its parser, eats the memory or crashes the process? Then it must fail alone.

Tasks run in worker processes that are kept for many of them. A worker limits its own memory. Time is watched twice:
by the pool, which kills the worker, and by the kernel's clock in the worker, which ends it even while the pool's
caller is busy elsewhere, or is gone.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from ragsaver.errors import RagSaverError, UnreadableDocument
from ragsaver.ingestion.guarded_process import START_S, Job, Said, WorkerProcess

Task = TypeVar("Task")
Result = TypeVar("Result")

# Tasks that are taken from the caller before the first result is given back: so many for each worker, and so many
# bytes together, but one for each worker in any case.
AHEAD = 16
_AHEAD_BYTES = 64 * 2**20
# More workers are started where those that are there were at work for more than this share of so many seconds, and
# a core was idle: where they keep up with their caller, or his work fills it, others would only take a core from him.
_BUSY, _LATELY_S = 0.9, 1.0


class GuardedPool(Generic[Task, Result]):
    """Runs a function on many tasks in processes of its own, for one caller at a time.

    A task may run twice: when a worker that did other tasks before it crashes or runs out of memory, the task is
    tried once more in a fresh worker, so that it is not blamed for what others left behind; also when its worker has
    left without a crash.

    :param work: an importable function, not one of `__main__`.
    :param workers: processes at most; one is started, and as many again each time that they don't keep up.
    :param timeout_s: that one task may take.
    :param memory_mb: address space of one worker, its program included.
    :param cores: that the workers share with this process: no further one is started where they are at work; None for
        no such limit.
    :param still_to_read: bytes that a worker will read for a task, besides those of the task itself.
    """

    def __init__(
        self,
        work: Callable[[Task], Result],
        *,
        workers: int,
        timeout_s: float,
        memory_mb: int,
        cores: int | None = None,
        still_to_read: Callable[[Task], int] = lambda task: 0,
    ) -> None:
        self._work = bytes(ForkingPickler.dumps(work))
        self._most = max(1, workers)
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._cores = cores
        self._still_to_read = still_to_read
        self._workers: list[WorkerProcess] = []
        self._waiting: deque[Job] = deque()
        self._done: dict[int, Result | UnreadableDocument] = {}
        self._since = self._own_s = 0.0

    def map(self, tasks: Iterable[tuple[str, Task]]) -> Iterator[tuple[str, Result | UnreadableDocument]]:
        """The results in the order of the tasks.

        :param tasks: a name for errors, and the task; taken as workers get free, so they may come without end.
        :raises RagSaverError: if no worker can start: that is no task's fault.
        """
        coming = enumerate(tasks)
        jobs: dict[int, Job] = {}  # taken, and their results not given back yet
        held = given = 0
        self._look_anew()
        try:
            while True:
                while len(jobs) < self._most or (len(jobs) < self._most * AHEAD and held < _AHEAD_BYTES):
                    taken = next(coming, None)
                    if taken is None:
                        break
                    number, (name, task) = taken
                    payload = bytes(ForkingPickler.dumps(task))
                    jobs[number] = Job(number, name, payload, len(payload) + self._still_to_read(task))
                    held += jobs[number].weight
                    self._waiting.append(jobs[number])
                    self._hand_out()
                if not jobs:
                    return
                while given not in self._done:
                    self._collect()
                    self._start_more()
                    self._hand_out()
                while given in self._done:
                    job = jobs.pop(given)
                    held -= job.weight
                    given += 1
                    yield job.name, self._done.pop(job.number)
        finally:
            self._stop([worker for worker in self._workers if worker.busy])
            self._waiting.clear()
            self._done.clear()

    def close(self) -> None:
        """End the workers. A later `map` starts new ones."""
        self._stop(self._workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, kept: Job | None = None) -> None:
        try:
            worker = WorkerProcess(self._work, self._timeout_s, self._memory_mb, kept)
        except OSError as error:
            raise _no_start(str(error)) from error
        self._workers.append(worker)

    def _stop(self, workers: Sequence[WorkerProcess]) -> None:
        for worker in list(workers):
            self._workers.remove(worker)
            worker.kill()

    def _hand_out(self) -> None:
        """Give waiting jobs to free workers, start a worker if none is free, and let quick ones have some ahead."""
        while self._waiting:
            ready = [worker for worker in self._workers if worker.ready]
            worker = min(ready, key=lambda one: len(one.jobs), default=None)
            if worker is None or worker.jobs:
                if not self._workers:
                    self._start()
                if worker is None or not worker.may_queue(self._waiting[0]):
                    return
            worker.give(self._waiting.popleft())

    def _start_more(self) -> None:
        """Start as many workers as there are, where these don't keep up and cores are idle: asked when all that they
        said was heard.
        """
        there, lately_s = len(self._workers), time.monotonic() - self._since
        if lately_s < _LATELY_S or not there or not self._waiting:
            return
        worked_s = sum(worker.worked_s + min(lately_s, worker.silent_s()) for worker in self._workers)
        if worked_s > _BUSY * there * lately_s:
            wanted = min(there, self._most - there, len(self._waiting))
            if self._cores is not None:
                busy = (worked_s + time.process_time() - self._own_s) / lately_s
                wanted = min(wanted, round(self._cores - busy))
            for _ in range(wanted):
                self._start()
        self._look_anew()

    def _look_anew(self) -> None:
        self._since, self._own_s = time.monotonic(), time.process_time()
        for worker in self._workers:
            worker.worked_s = 0.0

    def _collect(self) -> None:
        """Wait for what the workers say, for the first one to be late, or for a look whether more are worth it."""
        rest = min(worker.deadline for worker in self._workers) - time.monotonic()
        if self._waiting and len(self._workers) < self._most:
            rest = min(rest, _LATELY_S)
        heard: set[Any] = set(wait([worker.pipe for worker in self._workers], max(0.0, rest)))
        for worker in list(self._workers):
            if worker.pipe in heard:
                self._hear(worker)
            elif time.monotonic() >= worker.deadline:
                if not worker.ready:
                    raise self._never_started(worker, f"it took longer than {START_S:g} s")
                self._give_up(worker, self._too_slow(worker.jobs[0]))

    def _hear(self, worker: WorkerProcess) -> None:
        try:
            said, value = worker.hear()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if said is Said.NOT_READY:
            raise self._never_started(worker, str(value))
        if said is Said.OUT_OF_MEMORY:
            self._give_up(worker, self._too_big(worker.jobs[0]), again=worker.served > 0)
        elif said is Said.READY:
            self._look_anew()
        else:
            job = worker.finish()
            self._done[job.number] = _failed(job, str(value)) if said is Said.FAILED else value

    def _bury(self, worker: WorkerProcess) -> None:
        """A worker is gone: what was it doing?"""
        if not worker.ready:
            raise self._never_started(worker, f"it {worker.how_it_ended()}")
        if not worker.jobs:  # killed from outside
            self._stop([worker])
        elif worker.ended_by_its_clock:
            self._give_up(worker, self._too_slow(worker.jobs[0]))
        else:
            job = worker.jobs[0]
            again = worker.served > 0 or (worker.left_in_order and not job.again)
            self._give_up(worker, _crashed(job, worker.how_it_ended()), again=again)

    def _give_up(self, worker: WorkerProcess, blame: UnreadableDocument, *, again: bool = False) -> None:
        """Replace a worker; its first job is to blame, or done `again`, and what waited behind it waits once more."""
        self._stop([worker])
        first, *behind = worker.jobs
        self._waiting.extendleft(reversed(behind))
        if again:
            self._start(kept=replace(first, again=True))
        else:
            self._done[first.number] = blame

    def _never_started(self, worker: WorkerProcess, why: str) -> RagSaverError:
        self._stop([worker])
        return _no_start(why)

    def _too_slow(self, job: Job) -> UnreadableDocument:
        return UnreadableDocument(
            f"took longer than {self._timeout_s:g} s to read",
            where=job.name,
            remedy="Split it, or raise `ingestion.convert_timeout_s`",
        )

    def _too_big(self, job: Job) -> UnreadableDocument:
        return UnreadableDocument(
            f"needs more than {self._memory_mb} MB of memory to read",
            where=job.name,
            remedy="Split it, or raise `ingestion.convert_memory_mb`",
        )


def _crashed(job: Job, how: str) -> UnreadableDocument:
    return UnreadableDocument(
        f"the process that read it {how}",
        where=job.name,
        remedy="It may be damaged, or need more than `ingestion.convert_memory_mb`: save it once more, or leave it out",
    )


def _failed(job: Job, why: str) -> UnreadableDocument:
    return UnreadableDocument(
        f"can't be read: {why}", where=job.name, remedy="It may be damaged: save it once more, or leave it out"
    )


def _no_start(why: str) -> RagSaverError:
    return RagSaverError(
        f"no process to read files can be started: {why}",
        remedy="`ingestion.convert_memory_mb` or the machine's own limits may be too low",
    )
