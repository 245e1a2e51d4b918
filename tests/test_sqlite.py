"""Several processes may open the same file for the first time at the same moment."""

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from ragsaver.errors import StorageError, StorageUnavailable
from ragsaver.spend.budgets import Account, Hold
from ragsaver.spend.ledger import Call, Ledger
from ragsaver.sqlite import Readers

OPEN = """
import sys
from pathlib import Path
from ragsaver.caching.embeddings import SqliteEmbeddingCache
from ragsaver.ingestion.jobs import JobStore
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    folder = Path(sys.argv[1]) / str(_)
    folder.mkdir(exist_ok=True)
    SqliteEmbeddingCache(folder / "embeddings.sqlite", 2**20).close()
    JobStore(folder / "jobs.sqlite").close()
"""


@pytest.mark.parametrize("processes", [4])
def test_processes_that_open_a_new_file_at_once_all_get_it(tmp_path: Path, processes: int):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=120)[1] for process in started] == [""] * processes


def test_threads_that_read_one_after_the_other_read_by_one_connection(tmp_path: Path):
    file = tmp_path / "some.sqlite"
    made = []

    def make() -> None:
        made.append(1)
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript("CREATE TABLE IF NOT EXISTS some (n); INSERT INTO some VALUES (7)")

    readers = Readers(file, "the test's file", make)
    seen = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: seen.append(readers.rows("SELECT n FROM some", ())))
        thread.start()
        thread.join()
    assert (seen, made) == ([[(7,)]] * 3, [1])
    with pytest.raises(StorageError, match="the test's file can't be read"):
        readers.rows("SELECT nothing FROM some", ())
    assert readers.rows("SELECT n FROM some", ()) == [(7,)] and made == [1]
    readers.close()
    with pytest.raises(StorageError):
        readers.rows("SELECT n FROM some", ())


def test_a_file_that_another_process_has_to_itself_is_told_apart_from_one_that_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ragsaver.sqlite._PATIENCE_S", 0.05)
    file = tmp_path / "spend.sqlite"
    ledger = Ledger(file)
    account, call, hold = Account("acme"), Call("small", "tiny", "answer", 10, "now"), Hold(5, 10)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageUnavailable, match="ledger can't be written.*locked.*let that end") as caught:
            ledger.reserve(account, call, hold, None, 60)
        assert (caught.value.status, caught.value.retry_after_s) == (503, 5)
        other.execute("ROLLBACK")
    assert ledger.reserve(account, call, hold, None, 60).hold == hold
    ledger.close()
    for left in tmp_path.iterdir():
        left.write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="Free some space") as broken:
        Ledger(file)
    assert not isinstance(broken.value, StorageUnavailable)
