"""Turns of those who change documents: one process at a time for each tenant, and none is left by a process that died."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ragsaver.errors import IndexLocked, StorageError
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.ingestion.writers import Alone, Turns, open_writers
from ragsaver.settings import DatabaseSettings, IndexSettings, Settings
from tests.databases import asking
from tests.ingestion.bench import SCOPE, Bench
from tests.ingestion.beside import two_runs

HOLD = """
import sys
from pathlib import Path
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.ingestion.writers import open_writers
from ragsaver.settings import Settings
settings = Settings.model_validate_json(sys.argv[1])
with open_writers(settings, settings.home).turn("acme"):
    print("held", flush=True)
    sys.stdin.read()
"""


def project(home: Path, database: DatabaseSettings) -> Settings:
    home.mkdir()
    index = IndexSettings(engine="qdrant", url="http://127.0.0.1:6333")
    return Settings(home=home, database=database, index=index)


@pytest.fixture
def settings(tmp_path: Path, database: DatabaseSettings) -> Settings:
    return project(tmp_path / "home", database)


@contextmanager
def somebody_else(settings: Settings) -> Iterator[subprocess.Popen]:
    """A process that has the turn of tenant acme."""
    text = settings.model_dump_json()
    if settings.database.url:
        text = text.replace("*" * 10, settings.database.url.get_secret_value())
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_a_tenant_s_documents_are_one_process_s_and_another_tenant_s_are_free(settings: Settings) -> None:
    with closing(open_writers(settings, settings.home)) as writers, somebody_else(settings):
        with writers.turn("rival", patience_s=0.0):
            pass
        with pytest.raises(IndexLocked, match="tenant `acme`.*Wait for it"), writers.turn("acme", patience_s=0.0):
            pass


def test_a_killed_process_has_no_turn(settings: Settings) -> None:
    with closing(open_writers(settings, settings.home)) as writers, somebody_else(settings) as other:
        other.kill()
        other.wait()
        with writers.turn("acme", patience_s=10.0):
            pass


def test_a_turn_is_waited_for(settings: Settings) -> None:
    with closing(open_writers(settings, settings.home)) as writers, somebody_else(settings) as other:
        threading.Timer(0.2, other.stdin.close).start()
        with writers.turn("acme", patience_s=30.0):
            assert other.wait(10) == 0


def test_a_turn_may_be_nested_and_ends_with_the_outer_one(settings: Settings) -> None:
    mine, theirs = (open_writers(settings, settings.home) for _ in range(2))
    with mine.turn("acme"):
        with mine.turn("acme"):
            pass
        with pytest.raises(IndexLocked), theirs.turn("acme", patience_s=0.0):
            pass
    with theirs.turn("acme", patience_s=0.0):
        pass


def test_what_fails_in_a_turn_ends_it(settings: Settings) -> None:
    mine, theirs = (open_writers(settings, settings.home) for _ in range(2))
    with pytest.raises(ZeroDivisionError), mine.turn("acme"):
        raise ZeroDivisionError
    with theirs.turn("acme", patience_s=0.0):
        pass


def test_a_turn_that_was_lost_with_its_connection_is_noticed(settings: Settings) -> None:
    writers = open_writers(settings, settings.home)
    with writers.turn("acme"):
        writers.still("acme")
        if settings.database.url is None:  # the system keeps a file's lock
            return
        with asking(settings.database) as connection:
            connection.exec_driver_sql(
                "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() "
                "and datname = current_database()"
            )
        with pytest.raises(StorageError, match="was lost.*Run it again"):
            writers.still("acme")
    with writers.turn("acme"):
        writers.still("acme")


class Lost(Alone):
    """Writers whose turn was lost."""

    def still(self, tenant: str) -> None:
        raise StorageError(f"the turn of {tenant} was lost")


def test_nothing_is_committed_in_a_turn_that_was_lost(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    def ingest(writers: Alone) -> None:
        ingestor = Ingestor(bench.settings, bench.index, bench.encoder, bench.manifest, bench.cache, writers=writers)
        ingestor.ingest_texts([PostedDocument("a.md", "Owls hunt voles.")], SCOPE)

    with closing(bench):
        with pytest.raises(StorageError, match="was lost"):
            ingest(Lost())
        assert bench.manifest.documents(SCOPE) == {}
        ingest(Alone())
        assert set(bench.manifest.documents(SCOPE)) == {"a.md"}
        assert len(bench.encoder.paid) == len(set(bench.encoder.paid)) == 1


def test_an_embedded_index_has_an_owner_and_no_turns(tmp_path: Path) -> None:
    assert isinstance(open_writers(Settings(home=tmp_path), tmp_path), Alone)
    local = Settings(home=tmp_path, index=IndexSettings(engine="qdrant", url=f"file:{tmp_path}/q"))
    assert isinstance(open_writers(local, tmp_path), Alone)


def test_a_folder_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "manifest.sqlite"
    with pytest.raises(StorageError, match="RAGSAVER_HOME"), Turns(place, lambda: place).turn("acme"):
        pass


@pytest.mark.parametrize("processes", [False, True])
def test_a_file_that_another_run_brought_in_meanwhile_is_not_taken_for_gone(tmp_path: Path, processes: bool) -> None:
    with (
        closing(Bench(tmp_path)) as bench,
        two_runs(bench, processes=processes, waits=True, look=lambda step: None) as runs,
    ):
        (bench.docs / "old.md").write_text("owls")
        runs.begin_second(None)
        (bench.docs / "old.md").rename(bench.docs / "new.md")
        first = runs.first(None)
        second = runs.end_second()
        assert first is not None and second is not None
        assert (first.documents.added, second.documents.unchanged, second.documents.deleted) == (1, 1, 0)
        assert list(bench.manifest.documents(SCOPE)) == ["docs/new.md"]
