"""The engine's `optimize` stops its whole process (it keeps Python's lock), for minutes with a large index. So a copy
of the shard is optimised by a process of its own, which gives way to others.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import qdrant_edge as qdrant

from ragsaver.errors import StorageError

_COMMAND = "import sys; sys.path[:] = {path!r}; from ragsaver.index.optimising import optimise; optimise({shard!r})"
_NICE = 10
_LOOK_S = 0.05
_PR_SET_PDEATHSIG = 1


def optimised(shard: Path, stopping: threading.Event) -> bool:
    """Optimise a shard that nobody has open, in another process, and wait for it; false if told to stop.

    :raises StorageError: if that process fails; the shard is of no use then.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-c", _COMMAND.format(path=sys.path, shard=str(shard))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        try:
            while process.poll() is None:
                if stopping.wait(_LOOK_S):
                    return False
        finally:
            process.kill()
        said = process.stderr.read().decode(errors="replace") if process.stderr else ""
    if process.returncode:
        lines = said.strip().splitlines()
        raise StorageError(
            f"can't be optimised: {lines[-1] if lines else f'its process ended with {process.returncode}'}",
            where=str(shard),
            remedy="The index stays as it is, and searches are slower; it may lack disk or memory",
        )
    return True


def optimise(shard: str) -> None:
    """What the process of its own does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    with contextlib.suppress(AttributeError, OSError):  # not on Windows
        os.nice(_NICE)
    opened = qdrant.EdgeShard.load(shard)
    opened.optimize()
    opened.flush()
    opened.close()


def _end_with_parent() -> None:
    """On Linux; elsewhere it ends when it is done, and what it made is thrown away."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
