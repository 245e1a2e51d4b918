"""A manifest in PostgreSQL follows a migration, for the index's owner and for workers that don't have its folders."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragsaver.index.store import current_store
from ragsaver.ingestion.half import take_ready
from ragsaver.ingestion.manifest import DocumentRecord
from ragsaver.ingestion.migration import open_migration
from ragsaver.ingestion.opening import open_manifest
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.settings import DatabaseSettings, Settings
from tests.databases import database, needs_postgres, schemas
from tests.ingestion.bench import SCOPE, Bench, CountingEncoder

pytestmark = needs_postgres


class NewEncoder(CountingEncoder):
    """The model that is migrated to."""

    name, dim, fingerprint = "new", 16, "d" * 32


@pytest.fixture
def server() -> Iterator[DatabaseSettings]:
    with database("postgres") as made:
        yield made


@pytest.fixture
def old(tmp_path: Path, server: DatabaseSettings) -> Iterator[Bench]:
    """Three documents, one of them posted, of the old model; closed."""
    bench = Bench(tmp_path, database=server, index={"bm25_avg_words": 50.0})
    for n in range(2):
        (bench.docs / f"{n}.md").write_text(f"# Title {n}\n\nzebra number {n}")
    bench.ingest()
    bench.ingestor().ingest_texts([PostedDocument("note", "zebra posted", "text", {"by": "me"})], SCOPE)
    start(bench, bench.encoder)
    bench.close()
    yield bench


def start(bench: Bench, encoder: CountingEncoder) -> None:
    """What an owner does first."""
    take_ready(bench.settings, encoder)


def records(settings: Settings) -> dict[str, DocumentRecord]:
    """The documents that somebody with these settings finds."""
    manifest = open_manifest(settings, current_store(settings.home))
    try:
        return manifest.documents(SCOPE)
    finally:
        manifest.close()


def elsewhere(bench: Bench, tmp_path: Path) -> Settings:
    """The settings on a machine that has a home of its own."""
    return bench.settings.model_copy(update={"home": tmp_path / "elsewhere"})


def migrate(bench: Bench, encoder: CountingEncoder) -> None:
    with open_migration(bench.settings, encoder) as migration:
        assert migration.run().switched


def test_workers_elsewhere_find_the_new_manifest_once_its_owner_has_it(old: Bench, tmp_path: Path):
    encoder, there = NewEncoder(), elsewhere(old, tmp_path)
    before = records(there)
    assert set(before) == {"docs/0.md", "docs/1.md", "note"}
    migrate(old, encoder)
    assert records(there) == before
    start(old, encoder)
    after = records(there)
    assert after == records(old.settings)
    assert set(after) == set(before)
    assert all(after[source].config != before[source].config for source in before)


def test_the_old_manifest_goes_with_the_second_start_and_what_is_being_built_stays(old: Bench, server):
    encoder = NewEncoder()
    lasting = [server.schema_name, f"{server.schema_name}_manifest"]
    assert schemas(server) == lasting
    migrate(old, encoder)
    start(old, encoder)
    assert len(schemas(server)) == 3
    start(old, encoder)
    (_, only) = schemas(server)
    assert only not in lasting
    assert set(records(old.settings)) == {"docs/0.md", "docs/1.md", "note"}


def test_a_half_that_was_left_is_gone_with_the_next_start(old: Bench, server: DatabaseSettings):
    encoder = NewEncoder()
    (old.docs / "1.md").unlink()
    with open_migration(old.settings, encoder) as migration:
        assert not migration.run().switched
        start(old, old.encoder)
        assert len(schemas(server)) == 3
        assert migration.abort()
    start(old, old.encoder)
    assert len(schemas(server)) == 2


def test_a_plan_leaves_nothing_in_the_database(old: Bench, server: DatabaseSettings):
    before = schemas(server)
    with open_migration(old.settings, NewEncoder()) as migration:
        assert migration.plan().documents == 3
    assert schemas(server) == before


def test_a_project_that_moves_to_a_server_pays_for_nothing_again(tmp_path: Path, server: DatabaseSettings):
    bench = Bench(tmp_path)
    (bench.docs / "a.md").write_text("# Title\n\nzebra number 1")
    bench.ingest()
    bench.manifest.close()
    bench.settings = bench.settings.model_copy(update={"database": server})
    bench.manifest = open_manifest(bench.settings, bench.settings.home)
    assert bench.ingest().documents.added == 1
    report = bench.verify()
    assert (report.documents, report.points, report.missing, report.orphaned) == (1, 1, 0, 0)
    assert len(bench.encoder.paid) == 1
    bench.close()


def test_an_owner_that_lost_its_disk_finds_its_manifest_again(old: Bench, tmp_path: Path):
    encoder = NewEncoder()
    migrate(old, encoder)
    start(old, encoder)
    known, fresh = records(old.settings), elsewhere(old, tmp_path)
    fresh.home.mkdir()
    for _ in range(2):
        take_ready(fresh, encoder)
        assert records(fresh) == known
