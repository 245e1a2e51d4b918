"""Several processes may open the same file for the first time at the same moment."""

import subprocess
import sys
from pathlib import Path

import pytest

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
