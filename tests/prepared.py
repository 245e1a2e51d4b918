"""Commands in processes of their own that need not import first: a process that has imported RAGSaver forks each.

A command gets the environment, the folder and the end of a process that was started alone. What it does not have is a
Python of its own from the beginning: `tests/e2e/test_main_job.py`, the pages of the documentation and the services of
the compose file in `tests/workers/test_fleet.py` have one.
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
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_starting = threading.Lock()
_asking: list[socket.socket] = []


def complete(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float | None = None
) -> subprocess.CompletedProcess:
    """Run to its end what Python would: `-m MODULE ARGUMENT...` or `FILE ARGUMENT...`."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = Process(command, folder, environment, out, err)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(list(command), code, out.read().decode(), err.read().decode())


class Process:
    """A command that runs; of `subprocess.Popen` what the tests use.

    :param command: `-m MODULE ARGUMENT...` or `FILE ARGUMENT...`.
    :param stdout: a file or its descriptor, `subprocess.PIPE` for text, or None for ours.
    :param stderr: the same, or `subprocess.STDOUT`.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        stdout: IO | int | None = None,
        stderr: IO | int | None = None,
    ) -> None:
        self.args = [*command]
        self.returncode: int | None = None
        self._ending = threading.Lock()
        with contextlib.ExitStack() as given:
            self.stdout, out = _given(stdout, 1, given)
            self.stderr, err = (None, out) if stderr == subprocess.STDOUT else _given(stderr, 2, given)
            order = given.enter_context(tempfile.TemporaryFile("w+"))
            json.dump({"command": self.args, "folder": str(folder), "environment": {**environment}}, order)
            order.flush()
            self._told, tell = _piped(given)
            socket.send_fds(_prepared(), [b"!"], [order.fileno(), out, err, tell])
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self._ending.acquire(timeout=-1 if timeout is None else timeout):
            raise subprocess.TimeoutExpired(self.args, timeout)  # another thread waits, and has heard nothing
        try:
            if self.returncode is None:
                if not select.select([self._told], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired(self.args, timeout)
                self.returncode = int(self._told.readline())
                self._told.close()
            return self.returncode
        finally:
            self._ending.release()

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it says until its end: to stdout, to stderr."""
        end = None if timeout is None else time.monotonic() + timeout
        said = ["", ""]

        def hear(number: int, file: IO) -> None:
            with file:
                said[number] = file.read()

        hearing = [
            threading.Thread(target=hear, args=(number, file), daemon=True)
            for number, file in enumerate((self.stdout, self.stderr))
            if file and not file.closed
        ]
        for one in hearing:
            one.start()
        for one in hearing:
            one.join(None if end is None else max(0.0, end - time.monotonic()))
            if one.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout)
        self.wait(None if end is None else max(0.0, end - time.monotonic()))
        return said[0], said[1]


def _given(file: IO | int | None, ours: int, until_it_runs: contextlib.ExitStack) -> tuple[IO | None, int]:
    """Our end of a pipe, if it is to be one, and the descriptor that the command gets."""
    if file is None:
        return None, ours
    if file != subprocess.PIPE:
        return None, file if isinstance(file, int) else file.fileno()
    return _piped(until_it_runs)


def _piped(until_it_runs: contextlib.ExitStack) -> tuple[IO, int]:
    hear, tell = os.pipe()
    until_it_runs.callback(os.close, tell)
    return open(hear), tell


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
    signal.signal(signal.SIGCHLD, lambda *_: _forget())  # nobody waits for those that wait for the commands
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
        for one in (order, out, err):
            os.close(one)
        os.write(tell, f"{command}\n".encode())
        code = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
        with contextlib.suppress(BrokenPipeError):  # who began it waits no more
            os.write(tell, f"{code}\n".encode())
        os._exit(0)


def _forget() -> None:
    """Of those that have ended, nothing stays but the time they took."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


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
    import ragsaver.cli.cache_room
    import ragsaver.cli.main
    import ragsaver.components.deduplicator
    import ragsaver.components.retriever
    import ragsaver.index.server
    import ragsaver.pipelines.engine
    import ragsaver.server.run
    import ragsaver.workers.worker  # noqa: F401

    control = socket.socket(fileno=int(sys.argv.pop()))
    prepared = sys.argv
    gc.freeze()
    with contextlib.suppress(KeyboardInterrupt):  # whoever interrupts the tests
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
    _main()
