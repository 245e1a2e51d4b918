"""A task that hangs, eats memory or crashes fails alone, and everything else comes back in order."""

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import pytest

from ragsaver.errors import RagSaverError, UnreadableDocument
from ragsaver.ingestion import guard
from ragsaver.ingestion.cutting import cutters
from ragsaver.ingestion.guard import AHEAD, GuardedPool
from ragsaver.settings import IngestionSettings, usable_cores
from tests.ingestion.converters.office_files import docx, pptx, xlsx
from tests.ingestion.guarded_tasks import behave, length, loaded, to_blocks

ROOT = Path(__file__).resolve().parents[2]


def pool(
    workers: int = 2, timeout_s: float = 60.0, memory_mb: int = 512, cores: int | None = None
) -> GuardedPool[str, object]:
    return GuardedPool(behave, workers=workers, timeout_s=timeout_s, memory_mb=memory_mb, cores=cores)


def named(*tasks: str) -> list[tuple[str, str]]:
    return [(task, task) for task in tasks]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("workers", [1, 3])
def test_thousands_of_tasks_come_back_in_order(workers: int):
    tasks = [f"ok {n}" for n in range(3000)]
    with pool(workers) as guarded:
        assert list(guarded.map(named(*tasks))) == named(*tasks)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("hang", r"took longer than 1 s to read.*convert_timeout_s"),
        ("hang outside of Python", r"took longer than 1 s to read"),
        ("eat", r"needs more than 512 MB of memory.*convert_memory_mb"),
        ("exit", r"the process that read it ended with code 7"),
        ("leave", r"the process that read it ended with code 0"),
        ("segfault", r"the process that read it was ended by SIGSEGV"),
        ("abort", r"gave up \(SIGABRT\), as parsers do that get no more memory\. .*convert_memory_mb"),
        ("fail", r"can't be read: KeyError: 'no such thing'"),
        ("unpicklable", r"can't be read: \w+"),
        ("unreadable", r"is odd\. Mend it"),
    ],
)
def test_a_bad_task_fails_alone(task: str, said: str):
    tasks = named("ok 1", "ok 2", task, "ok 3", "ok 4", task, "ok 5")
    with pool(timeout_s=1.0 if task.startswith("hang") else 60.0) as guarded:
        results = list(guarded.map(tasks))
    assert [name for name, _ in results] == [name for name, _ in tasks]
    for name, result in results:
        if name != task:
            assert result == name
        else:
            assert isinstance(result, UnreadableDocument) and result.where == task
            assert re.search(said, str(result))


def test_a_task_is_not_blamed_for_a_new_worker_that_left_without_a_crash(tmp_path: Path):
    task = f"leave once {tmp_path / 'left'}"
    with pool(workers=1) as guarded:
        assert list(guarded.map(named(task, "ok 1"))) == [(task, "stayed"), ("ok 1", "ok 1")]


def test_a_task_that_hangs_is_ended_by_its_own_clock_while_the_caller_is_elsewhere():
    with pool(1, timeout_s=0.2) as guarded:
        results = guarded.map(named("ok", "hang", "ok"))
        assert next(results) == ("ok", "ok")
        process = guarded._workers[0]._process
        process.wait(timeout=60)  # nobody looks at the pool meanwhile
        assert "took longer than 0.2 s" in str(next(results)[1])
        assert next(results) == ("ok", "ok")


def test_a_lazy_generator_is_not_read_far_ahead():
    taken = 0

    def endless() -> Iterator[tuple[str, str]]:
        nonlocal taken
        for taken in count(1):
            yield f"{taken}", f"ok {taken}"

    with pool(2) as guarded:
        for given, _ in enumerate(islice(guarded.map(endless()), 500), 1):
            assert taken <= given + 2 * AHEAD


def test_large_tasks_are_not_hoarded():
    taken = 0

    def large() -> Iterator[tuple[str, tuple[str, bytes]]]:
        nonlocal taken
        for taken in range(1, 9):
            yield f"{taken}", ("", bytes(40 * 2**20))

    with GuardedPool(length, workers=1, timeout_s=60, memory_mb=512) as guarded:
        results = guarded.map(large())
        assert next(results) == ("1", 40 * 2**20)
        assert taken <= 2
        assert len(list(results)) == 7


def test_workers_are_few_for_few_tasks_kept_between_calls_and_gone_after_close():
    guarded = pool(4)
    assert not guarded._workers
    [(_, first)] = guarded.map(named("pid"))
    [(_, second)] = guarded.map(named("pid"))
    assert first == second != os.getpid()
    guarded.close()
    assert gone(int(str(first)))
    assert list(guarded.map(named("ok"))) == named("ok")
    guarded.close()


def test_a_worker_that_keeps_up_with_its_caller_stays_alone():
    most = 0
    with pool(4) as guarded:
        ended = time.monotonic() + 3 * guard._LATELY_S
        for _ in guarded.map((f"ok {number}", f"ok {number}") for number in count()):
            sum(range(100_000))
            most = max(most, len(guarded._workers))
            if time.monotonic() > ended:
                break
    assert most == 1


def test_more_workers_are_started_where_those_there_do_not_keep_up():
    started: set[int] = set()
    with pool(3, timeout_s=5 * guard._LATELY_S) as guarded:
        for _ in guarded.map(named(*["hang"] * 3, *["ok"] * 40)):
            started |= {id(worker) for worker in guarded._workers}
            if len(guarded._workers) == 3:
                break
    assert len(started) == 3


def most_at_once(guarded: GuardedPool[str, object], *tasks: str) -> int:
    """How many workers there are at most while some tasks are done."""
    most, start = 0, guarded._start

    def counted(*given: object) -> None:
        nonlocal most
        start(*given)
        most = max(most, len(guarded._workers))

    guarded._start = counted
    with guarded:
        list(guarded.map(named(*tasks)))
    return most


@pytest.mark.parametrize(("cores", "most"), [(1, 1), (2, 2), (9, 3)])
def test_no_more_workers_are_started_than_there_are_cores_for(cores: int, most: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guard, "_LATELY_S", 0.3)
    assert most_at_once(pool(3, timeout_s=1.5, cores=cores), *["hang"] * 3, *["ok"] * 40) == most


def test_no_more_workers_are_started_where_their_caller_s_work_fills_the_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guard, "_LATELY_S", 0.3)
    own = count()
    monkeypatch.setattr(guard.time, "process_time", lambda: 10.0 * next(own))
    assert most_at_once(pool(3, timeout_s=1.5, cores=4), "hang", "hang", "ok") == 1


def test_a_caller_that_stops_early_leaves_no_task_behind():
    with pool(2) as guarded:
        results = guarded.map(named("ok 1", *["hang"] * 5))
        assert next(results) == ("ok 1", "ok 1")
        results.close()
        assert list(guarded.map(named("ok 2"))) == named("ok 2")


def test_an_error_of_the_tasks_themselves_is_the_caller_s():
    def broken() -> Iterator[tuple[str, str]]:
        yield "ok", "ok"
        raise OSError("the folder is gone")

    with pool() as guarded, pytest.raises(OSError, match="the folder is gone"):
        list(guarded.map(broken()))


def test_a_pool_whose_workers_cannot_start_says_so():
    with pool(memory_mb=1) as guarded, pytest.raises(RagSaverError, match="no process to read files") as caught:
        list(guarded.map(named("ok")))
    assert not isinstance(caught.value, UnreadableDocument) and "convert_memory_mb" in str(caught.value)


def test_workers_end_with_their_parent():
    program = (
        "import os, signal\nfrom ragsaver.ingestion.guard import GuardedPool\n"
        "from tests.ingestion.guarded_tasks import behave\n"
        "pool = GuardedPool(behave, workers=1, timeout_s=1, memory_mb=512)\n"
        "print(next(pool.map([('pid', 'pid')]))[1], flush=True)\n"
        "results = pool.map([('pid', 'pid'), ('hang', 'hang')])\nnext(results)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    )
    assert ran.returncode == -9
    worker = int(ran.stdout)
    # A worker in the middle of a task ends by its own clock: wait for the process itself, not for a time.
    try:
        descriptor = os.pidfd_open(worker)
    except ProcessLookupError:
        return
    assert select.select([descriptor], [], [], 60)[0]
    os.close(descriptor)


def test_conversion_loads_neither_numpy_nor_haystack_nor_onnxruntime():
    files = {"a.docx": docx(), "a.pptx": pptx(), "a.xlsx": xlsx({"S": [["a", "b"]]}), "a.md": b"# A\n\nb"}
    with GuardedPool(loaded, workers=1, timeout_s=60, memory_mb=512) as guarded:
        for name, modules in guarded.map((name, (name, data)) for name, data in files.items()):
            assert isinstance(modules, list), modules
            assert "ragsaver.ingestion.converters" in modules, name
            assert not {"numpy", "haystack", "onnxruntime", "pydantic", "sqlalchemy"}.intersection(modules), name


def test_documents_and_their_errors_come_back_whole():
    with GuardedPool(to_blocks, workers=1, timeout_s=60, memory_mb=512) as guarded:
        (_, good), (_, bad) = guarded.map([("a.docx", ("a.docx", docx())), ("b.pdf", ("b.pdf", b"%PDF-1.4"))])
    assert good == to_blocks(("a.docx", docx()))
    assert isinstance(bad, UnreadableDocument) and bad.where == "b.pdf" and bad.remedy


def test_readers_that_the_settings_name_are_not_held_back_by_the_cores():
    own, named_by_settings = cutters(IngestionSettings()), cutters(IngestionSettings(convert_workers=3))
    assert (own._most, own._cores) == (usable_cores(), usable_cores())
    assert (named_by_settings._most, named_by_settings._cores) == (3, None)
