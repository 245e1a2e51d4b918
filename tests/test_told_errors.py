"""What a command says and ends with when something went wrong inside."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import typer

from ragsaver.cli.output import errors_told
from ragsaver.errors import StorageError


def interrupted() -> None:
    raise KeyboardInterrupt


def in_a_lock() -> None:
    """As an interrupt leaves it that strikes while `Condition.wait` takes the lock again."""
    lock = threading.Condition()
    with lock:
        lock.release()
        raise KeyboardInterrupt


def in_a_batch() -> None:
    """As leaving a run waits for the thread that writes, which fails."""

    def write() -> None:
        raise StorageError("the manifest can't be written: database is locked")

    with ThreadPoolExecutor(1) as thread:
        try:
            raise KeyboardInterrupt
        finally:
            thread.submit(write).result()


@pytest.mark.parametrize("stop", [interrupted, in_a_lock, in_a_batch])
def test_an_interrupt_is_told_as_one_whatever_fails_on_the_way_out(
    stop: Callable[[], None], capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(typer.Exit) as ended, errors_told(as_json=True):
        stop()
    said = capsys.readouterr()
    assert ended.value.exit_code == 3
    assert json.loads(said.out)["error"]["problem"] == "stopped"
    assert "run the same command again" in said.err


def test_what_fails_by_itself_is_told_as_what_it_is(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(typer.Exit) as ended, errors_told(as_json=True):
        raise StorageError("is full")
    assert ended.value.exit_code == StorageError.exit_code == 2
    assert json.loads(capsys.readouterr().out)["error"]["problem"] == "is full"
    with pytest.raises(LookupError), errors_told(as_json=True):
        raise LookupError("a fault of the program's own")
