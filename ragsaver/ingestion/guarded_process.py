"""One worker process that may hang, run out of memory or crash without harm: both of its ends.

The worker is a fresh interpreter, never a fork: the parent has threads. It is started by a command of its own and not
by `multiprocessing`, which would run the parent's main module in it, with all that this imports.
"""

import contextlib
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from ragsaver.errors import UnreadableDocument

# A worker that does not answer by then does not start at all.
START_S = 60.0
# Small tasks wait in the pipe of a quick worker, so that it need not wait for the pool, and results in the one back
# while the pool's caller does something else. The kernel may give less than what is asked for.
_PIPE_BYTES = 2**20
QUEUED = 16
_QUICK_S = 0.05
# The worker's own clock runs behind the pool's: it is there for when nobody looks at the other one.
_GRACE_S = 1.0

_START = "import sys; sys.path[:] = {path!r}; from ragsaver.ingestion.guarded_process import serve; serve{limits!r}"


class Said(IntEnum):
    """What a worker's message is."""

    READY = 0
    NOT_READY = 1
    DONE = 2
    UNREADABLE = 3
    FAILED = 4
    OUT_OF_MEMORY = 5


@dataclass(frozen=True, slots=True)
class Job:
    """A task on its way: its place in the order, its name for errors, itself, pickled, and the bytes it is about.

    :ivar again: a worker was lost with it before.
    """

    number: int
    name: str
    payload: bytes
    weight: int
    again: bool = False


class WorkerProcess:
    """The pool's end of a worker.

    :param work: the pickled function that it runs.
    :param kept: the job that it gets first, and alone.
    :ivar worked_s: seconds that its jobs took of those that it was heard of, since somebody set this to nothing.
    """

    def __init__(self, work: bytes, timeout_s: float, memory_mb: int, kept: Job | None = None) -> None:
        self.ready = False
        self.jobs: deque[Job] = deque()
        self.served = 0
        self.worked_s = 0.0
        self.kept = kept
        self._timeout_s = timeout_s
        self._quick = False
        self._since = self._heard_at = time.monotonic()
        self.pipe, theirs, room = _wide_pipe()
        self._queued_bytes = room // 4  # far from full, so that giving a job never waits
        with theirs:
            limits = (theirs.fileno(), timeout_s, memory_mb)
            # A session of its own: Ctrl-C is for the parent to decide about. What parsers print is nobody's.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", "-c", _START.format(path=sys.path, limits=limits)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._send(work)

    @property
    def busy(self) -> bool:
        """Whether a job is or will be done here."""
        return bool(self.jobs) or self.kept is not None

    @property
    def deadline(self) -> float:
        """When it is late with what it does, by `time.monotonic`."""
        if not self.ready:
            return self._since + START_S
        return self._since + self._timeout_s if self.jobs else float("inf")

    def silent_s(self) -> float:
        """Seconds for which it has been at one job by now, as far as is known."""
        return time.monotonic() - max(self._heard_at, self._since) if self.jobs else 0.0

    def may_queue(self, job: Job) -> bool:
        """Whether a job may wait here behind others."""
        waiting = sum(len(one.payload) for one in self.jobs)
        return self._quick and len(self.jobs) < QUEUED and waiting + len(job.payload) <= self._queued_bytes

    def give(self, job: Job) -> None:
        """Send a job; a worker that is gone shows when it is heard."""
        if not self.jobs:
            self._since = time.monotonic()
        self.jobs.append(job)
        self._send(job.payload)

    def hear(self) -> tuple[Said, Any]:
        """Its next message.

        :raises EOFError, OSError: if it is gone.
        """
        said, value, took_s = pickle.loads(self.pipe.recv_bytes())
        self.worked_s += took_s
        self._heard_at = time.monotonic()
        if said is Said.READY:
            self.ready = True
            if self.kept is not None:
                kept, self.kept = self.kept, None
                self.give(kept)
        return said, value

    def finish(self) -> Job:
        """The job that it has just done."""
        now = time.monotonic()
        self._quick = now - self._since < _QUICK_S
        self._since = now
        self.served += 1
        return self.jobs.popleft()

    def how_it_ended(self) -> str:
        """For a person, of a worker that is gone: "was ended by SIGSEGV"."""
        code = self._process.wait()
        if code == -signal.SIGABRT:
            return "gave up (SIGABRT), as parsers do that get no more memory"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    @property
    def left_in_order(self) -> bool:
        """It ended since its pipe did: no task does that to it."""
        return self._process.wait() == 0

    @property
    def ended_by_its_clock(self) -> bool:
        return self._process.wait() == -signal.SIGALRM

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self.pipe.close()

    def _send(self, payload: bytes) -> None:
        with contextlib.suppress(OSError):  # it is gone, and `hear` will say so
            self.pipe.send_bytes(payload)


def _wide_pipe() -> tuple[Connection, Connection, int]:
    """Both ends, and the bytes that wait in either direction at most."""
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIPE_BYTES)
    room = ends[0].getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    ours, theirs = (Connection(end.detach()) for end in ends)
    return ours, theirs, room


def serve(fd: int, timeout_s: float, memory_mb: int) -> None:
    """The worker's end: do what comes down the pipe until it closes, with the parent or by it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Not handled in Python: the kernel ends the process even in the middle of a parser's own code.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    pipe = Connection(fd)
    try:
        _limit_memory(memory_mb)
        work = pickle.loads(pipe.recv_bytes())
    except Exception as error:
        pipe.send_bytes(ForkingPickler.dumps((Said.NOT_READY, f"{type(error).__name__}: {error}", 0.0)))
        return
    try:
        said = Said.READY
        pipe.send_bytes(ForkingPickler.dumps((said, None, 0.0)))
        while said is not Said.OUT_OF_MEMORY:
            said, answer = _answer(work, pipe.recv_bytes(), timeout_s)
            pipe.send_bytes(answer)
    except (EOFError, OSError):  # the parent is gone
        return


def _answer(work: Callable[[Any], Any], payload: bytes, timeout_s: float) -> tuple[Said, bytes]:
    signal.setitimer(signal.ITIMER_REAL, timeout_s + _GRACE_S)
    value: Any
    began = time.monotonic()
    try:
        said, value = Said.DONE, work(pickle.loads(payload))
        return said, bytes(ForkingPickler.dumps((said, value, time.monotonic() - began)))
    except MemoryError:
        said, value = Said.OUT_OF_MEMORY, None
    except UnreadableDocument as error:
        said, value = Said.UNREADABLE, error
    except Exception as error:
        said, value = Said.FAILED, f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return said, bytes(ForkingPickler.dumps((said, value, time.monotonic() - began)))


def _limit_memory(memory_mb: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    allowed = memory_mb * 2**20
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        allowed = min(allowed, hard)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no document is left behind in a crash dump
