"""State that moves to another database is all there, or nothing of it is; nothing has to be ingested again."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from ragsaver import database as databases
from ragsaver.access.key_store import KeyStore, open_keys
from ragsaver.errors import IndexLocked, StorageError, UsageError
from ragsaver.index.ownership import Ownership
from ragsaver.index.scope import Scope
from ragsaver.ingestion.copying import copy_to_database
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.jobs import JobStore
from ragsaver.ingestion.manifest import Manifest
from ragsaver.ingestion.opening import jobs_place, open_manifest
from ragsaver.ingestion.queued_document import NewDocument
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.ingestion.tombstones import Tombstone
from ragsaver.settings import SpendSettings
from tests.databases import database, needs_postgres
from tests.ingestion.bench import SCOPE, Bench, CountingSummariser
from tests.pdf_files import PICTURE, pdf

EMPTIED = Scope("acme", "emptied")
TEXT = "# Owls\n\n" + "Owls hunt voles at night. " * 40


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    models = {"models": [{"name": "tiny"}]}
    made = Bench(tmp_path, outline={"summary_model": "tiny", "summary_min_words": 20}, generation=models)
    made.summarise_by(CountingSummariser())
    (made.docs / "a.md").write_text(TEXT)
    (made.docs / "scan.pdf").write_bytes(pdf([["Owls hunt voles."], []], drawn={1: PICTURE}))
    made.ingest()
    documents = [PostedDocument(f"{n}.md", f"{TEXT} {n} 租户", metadata={"groups": ["hr"]}) for n in range(3)]
    made.ingestor().ingest_texts(documents, SCOPE)
    gone = made.manifest.document(SCOPE, "2.md")
    made.ingestor().forget(SCOPE, lambda known: [gone], [Tombstone(gone.id, "2.md", "/a", "", "x", 1, 2, "r", "k", 3)])
    made.ingestor().ingest_texts([PostedDocument("b.md", "Bees dance.")], EMPTIED)
    made.ingestor().forget(EMPTIED, lambda known: list(known.values()))
    made.manifest.uses.note({made.manifest.document(SCOPE, "0.md").id: 5.0})
    yield made
    made.close()


def job(store: JobStore, *documents: NewDocument) -> str:
    name = store.create(SCOPE, None, 100)
    store.add(name, documents, first=0, lease_s=1)
    store.listed(name, {".png": 3})
    return name


ENDED = NewDocument("a.md", state=State.FAILED, error="a \0 in it")


def told(manifest: Manifest) -> dict[str, object]:
    documents = manifest.documents(SCOPE)
    ids = [one.id for one in documents.values()]
    return {
        "documents": documents,
        "state": manifest.state(),
        "outlines": manifest.outlines(ids),
        "originals": [manifest.originals.get(one.id, one.generation) for one in documents.values()],
        "noted": manifest.originals.noted(SCOPE),
        "tombstones": manifest.tombstones.of(SCOPE),
        "uses": manifest.uses.of(SCOPE),
        "without": manifest.without_outline(SCOPE),
        "intents": manifest.intents(SCOPE),
        "mark": manifest.changes.mark(SCOPE),
        "emptied": [manifest.is_emptied(scope) for scope in (SCOPE, EMPTIED, Scope("acme", "never"))],
    }


def test_another_manifest_takes_all_and_a_second_time_nothing(bench: Bench, tmp_path: Path):
    with closing(Manifest(tmp_path / "other.sqlite")) as other:
        counts = other.copy_from(bench.manifest)
        assert counts["documents"] == 4 and counts["tombstones"] == counts["uses"] == 1
        assert told(other) == told(bench.manifest)
        assert told(other)["emptied"] == [False, True, False]
        assert list(told(other)["noted"]) == ["docs/scan.pdf"]
        assert other.copy_from(bench.manifest) == counts
        bench.ingestor().ingest_texts([PostedDocument("more.md", TEXT)], SCOPE)
        with pytest.raises(StorageError, match="already"):
            other.copy_from(bench.manifest)
        assert len(other.documents(SCOPE)) == 4


def test_what_is_not_copied_whole_is_not_copied_at_all(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write = databases.write_rows

    def losing(connection: sa.Connection, statement: sa.Insert, rows: list[object]) -> None:
        write(connection, statement, rows[1:] if statement.table.name == "outlines" else rows)

    with closing(Manifest(tmp_path / "other.sqlite")) as other:
        with monkeypatch.context() as patched:
            patched.setattr(databases, "write_rows", losing)
            with pytest.raises(StorageError, match="`outlines` was not copied whole"):
                other.copy_from(bench.manifest)
        assert other.documents(SCOPE) == {}
        assert other.copy_from(bench.manifest)["documents"] == 4


def test_jobs_and_keys_go_along(tmp_path: Path):
    with closing(JobStore(tmp_path / "a.sqlite")) as old, closing(JobStore(tmp_path / "b.sqlite")) as new:
        name = job(old, ENDED)
        assert new.copy_from(old) == {"jobs": 1, "documents": 1, "bills": 0, "passed_over": 1}
        assert new.report(name, SCOPE.tenant, SpendSettings()) == old.report(name, SCOPE.tenant, SpendSettings())
    with closing(KeyStore(tmp_path / "k.sqlite")) as keys, closing(KeyStore(tmp_path / "l.sqlite")) as others:
        assert others.copy_from(keys) == {}
        keys.create("owl", "acme", ["hr"])
        keys.create("vole", "acme", pipelines=["query"])
        assert others.copy_from(keys) == {"keys": 2}
        assert others.all() == keys.all()


def test_without_a_database_there_is_nowhere_to_copy_to(bench: Bench):
    with pytest.raises(UsageError, match="no database is named"):
        copy_to_database(bench.settings)


@needs_postgres
def test_a_project_moves_to_postgresql_and_ingests_nothing_again(bench: Bench):
    with database("postgres") as server:
        moved = bench.settings.model_copy(update={"database": server})
        with closing(JobStore(jobs_place(bench.settings))) as jobs:
            name = job(jobs, ENDED)
            waits = job(jobs, NewDocument("b.md"))
            with pytest.raises(UsageError, match="1 documents wait"):
                copy_to_database(moved)
            jobs.drop(waits, SCOPE.tenant)
        owner = Ownership.acquire(bench.settings.home, "a test")
        with pytest.raises(IndexLocked):
            copy_to_database(moved)
        owner.release()
        with closing(open_keys(bench.settings)) as keys:
            keys.create("owl", "acme")
        before, paid = told(bench.manifest), len(bench.encoder.paid)
        bench.manifest.close()
        report = copy_to_database(moved)
        assert (report.manifest["documents"], report.jobs["jobs"], report.keys) == (4, 1, {"keys": 1})
        assert copy_to_database(moved) == report
        with closing(JobStore(jobs_place(moved))) as jobs:
            (failed,) = jobs.report(name, SCOPE.tenant, SpendSettings()).errors
            assert failed.error == "a \N{REPLACEMENT CHARACTER} in it"
        bench.settings, bench.manifest = moved, open_manifest(moved, bench.settings.home)
        assert told(bench.manifest) == before
        assert bench.ingest().documents.unchanged == 2
        assert bench.verify().repaired == 0
        assert len(bench.encoder.paid) == paid
