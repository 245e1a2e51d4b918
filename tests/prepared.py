"""Commands in processes of their own that need not import first: a process that has imported RAGSaver forks each.

A command gets the environment, the folder and the end of a process that was started alone. What it does not have is a
Python of its own from the beginning: `tests/e2e/test_main_job.py`, the pages of the documentation, servers and workers
start that way.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_starting = threading.Lock()
_asking: list[socket.socket] = []


def complete(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float | None = None
) -> subprocess.CompletedProcess:
    """Run to its end what Python would: `-m MODULE ARGUMENT...` or `FILE ARGUMENT...`."""
    asked = {"command": [*command], "folder": str(folder), "environment": {**environment}}
    with tempfile.TemporaryFile("w+") as order, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        json.dump(asked, order)
        order.flush()
        hear, tell = os.pipe()
        with open(hear) as told:
            try:
                socket.send_fds(_prepared(), [b"!"], [order.fileno(), out.fileno(), err.fileno(), tell])
            finally:
                os.close(tell)
            pid = int(told.readline())
            if timeout is not None and not select.select([told], [], [], timeout)[0]:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(command), timeout)
            code = int(told.readline())
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(list(command), code, out.read().decode(), err.read().decode())


def _prepared() -> socket.socket:
    with _starting:
        if not _asking:
            ours, theirs = socket.socketpair()
            with theirs:
                command = [sys.executable, "-m", "tests.prepared", str(theirs.fileno())]
                process = subprocess.Popen(
                    command,
                    cwd=Path(__file__).resolve().parents[1],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
            _asking.append(ours)
            atexit.register(_end, ours, process)
        return _asking[0]


def _end(ours: socket.socket, process: subprocess.Popen) -> None:
    ours.close()
    process.wait()


def _serve(control: socket.socket) -> None:
    """Returns in the process that is to run a command, and in this one when nobody asks any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for the commands
    while True:
        word, descriptors, *_ = socket.recv_fds(control, 1, 4)
        if not word:
            return
        if os.fork():
            for one in descriptors:
                os.close(one)
            continue
        control.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        order, out, err, tell = descriptors
        if not (command := os.fork()):
            os.close(tell)
            _become(order, out, err)
            return
        os.write(tell, f"{command}\n".encode())
        code = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
        os.write(tell, f"{code}\n".encode())
        os._exit(0)


def _become(order: int, out: int, err: int) -> None:
    os.dup2(out, 1)
    os.dup2(err, 2)
    with open(order) as file:
        file.seek(0)
        asked = json.load(file)
    os.close(out)
    os.close(err)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv = asked["command"]


def _main() -> None:
    import gc
    import runpy

    from ragsaver.settings import quiet_haystack

    quiet_haystack()
    import ragsaver.cli.backend
    import ragsaver.cli.main
    import ragsaver.index.server
    import ragsaver.pipelines.engine
    import ragsaver.workers.queueing  # noqa: F401

    control = socket.socket(fileno=int(sys.argv.pop()))
    prepared = sys.argv
    gc.freeze()
    _serve(control)
    if sys.argv is prepared:
        return
    first, *rest = sys.argv
    if first == "-m":
        sys.path[0] = os.getcwd()
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(first).parent)
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        _main()
