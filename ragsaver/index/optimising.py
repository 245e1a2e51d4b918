"""The engine's `optimize` stops its whole process (it keeps Python's lock), for minutes with a large index. So a copy
of the shard is optimised by a process of its own, which gives way to others.

The copy is made by another one: beside threads that search without a pause, a thread that copies waits for Python's
lock again and again, and keeps the writers waiting all the while.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from ragsaver.errors import StorageError

_COMMAND = "import sys; sys.path[:] = {path!r}; from ragsaver.index import optimising; optimising.{task}(*{given!r})"
_NICE = 10
_LOOK_S, _LOOK_CLOSELY_S = 0.05, 0.005
_PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def copier(held: Path, to: Path) -> Iterator[Callable[[threading.Event], bool]]:
    """A process that waits to copy a shard, so that nobody who has to keep still meanwhile waits for its start.

    What this gives copies and waits for the end; false if told to stop. It raises StorageError if the copy fails.
    """
    with _process("copy", held, to) as process:

        def copied(stopping: threading.Event) -> bool:
            assert process.stdin
            process.stdin.close()
            return _ended(process, stopping, _LOOK_CLOSELY_S, "copied to be optimised", held)

        yield copied


def optimised(shard: Path, stopping: threading.Event) -> bool:
    """Optimise a shard that nobody has open, in another process, and wait for it; false if told to stop.

    :raises StorageError: if that process fails; the shard is of no use then.
    """
    with _process("optimise", shard) as process:
        return _ended(process, stopping, _LOOK_S, "optimised", shard)


def copy(held: str, to: str) -> None:
    """What the copying process does: it begins when its input ends."""
    _prepare()
    sys.stdin.read()
    try:
        shutil.copytree(held, to)
    except shutil.Error as error:  # all that went wrong: the first says it
        sys.exit(error.args[0][0][2])
    except OSError as error:
        sys.exit(str(error))


def optimise(shard: str) -> None:
    """What the optimising process does."""
    import qdrant_edge as qdrant  # the other one does without it

    _prepare()
    with contextlib.suppress(AttributeError, OSError):  # not on Windows
        os.nice(_NICE)
    opened = qdrant.EdgeShard.load(shard)
    opened.optimize()
    opened.flush()
    opened.close()


@contextlib.contextmanager
def _process(task: str, *given: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of this module's, for the code inside; it does not outlive it."""
    command = _COMMAND.format(path=sys.path, task=task, given=[str(one) for one in given])
    with subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _ended(process: subprocess.Popen[bytes], stopping: threading.Event, look_s: float, what: str, where: Path) -> bool:
    while process.poll() is None:
        if stopping.wait(look_s):
            return False
    if process.returncode:
        said = process.stderr.read().decode(errors="replace") if process.stderr else ""
        lines = said.strip().splitlines()
        raise StorageError(
            f"can't be {what}: {lines[-1] if lines else f'its process ended with {process.returncode}'}",
            where=str(where),
            remedy="The index stays as it is, and searches are slower; it may lack disk or memory",
        )
    return True


def _prepare() -> None:
    """The parent answers interrupts, and takes this process with it: on Linux.

    Elsewhere it ends when it is done, and what it made is thrown away.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
