"""The manifest keeps scopes apart, replaces whole versions, and holds as many documents as there are."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from ragsaver.dialects import POSTGRES
from ragsaver.errors import StorageError
from ragsaver.index.scope import Scope
from ragsaver.ingestion.identity import Fingerprints
from ragsaver.ingestion.manifest import DocumentRecord, Intent, Manifest
from ragsaver.ingestion.notes import Note, NoteCode
from ragsaver.ingestion.opening import open_manifest
from ragsaver.ingestion.originals import DOCUMENT_ID, Original
from ragsaver.ingestion.quiet import _runs
from ragsaver.postgres import _format
from ragsaver.settings import DatabaseSettings, Settings
from tests.databases import asking

TABLE = DOCUMENT_ID.table
ACME, OTHER = Scope("acme", "docs"), Scope("other", "docs")


@pytest.fixture
def manifest(tmp_path: Path, database: DatabaseSettings):
    made = open_manifest(Settings(home=tmp_path, database=database), tmp_path)
    yield made
    made.close()


def record(source: str, generation: int = 1, chunks: tuple[str, ...] = ("c1", "c2"), scope: Scope = ACME):
    return DocumentRecord(
        id=f"{scope.tenant}:{source}", source=source, location=f"/{source}", size=3, version="3:5", content_hash="h",
        metadata_hash="m", config="c", generation=generation, ingested_at=1.5,
        chunks=tuple(Fingerprints(chunk, "embedded", "carried", "place") for chunk in chunks),
    )  # fmt: skip


def intent(document: str, listed: tuple[str, ...] = (), deleted: tuple[str, ...] = ()) -> Intent:
    return Intent(document, 1, listed, deleted, {"stays": {"ordinal": 3}})


def test_a_new_version_takes_the_place_of_the_old_one(manifest: Manifest):
    manifest.commit(ACME, [record("a.md")])
    newer = record("a.md", generation=2, chunks=("c3",))
    manifest.commit(ACME, [newer])
    assert manifest.documents(ACME) == {"a.md": newer}


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 20])
def test_versions_are_those_of_any_number_of_documents(manifest: Manifest, count: int):
    known = [record(f"{n}.md") for n in range(count)]
    manifest.commit(ACME, known)
    manifest.commit(OTHER, [record("else.md", scope=OTHER)])
    asked = [*(one.id for one in known), "acme:never.md", "other:else.md"]
    assert manifest.versions(ACME, asked).keys() == {one.id for one in known}
    assert manifest.versions(ACME, []) == {}


def test_a_scope_never_sees_another_s_documents_or_intents(manifest: Manifest):
    manifest.commit(ACME, [record("a.md")])
    manifest.commit(OTHER, [record("a.md", scope=OTHER)])
    manifest.record_intents(OTHER, [intent("other:a.md", ("n",), ("o",))])
    assert [one.id for one in manifest.documents(ACME).values()] == ["acme:a.md"]
    assert (manifest.intents(ACME), len(manifest.intents(OTHER))) == ([], 1)
    assert manifest.scopes() == [ACME, OTHER]


def test_a_collection_is_emptied_when_it_had_documents_and_no_chunk_of_them_is_left(manifest: Manifest):
    told = [manifest.is_emptied(ACME)]
    manifest.commit(OTHER, [record("a.md", scope=OTHER)])
    manifest.commit(ACME, [record("a.md"), record("b.md")])
    told.append(manifest.is_emptied(ACME))
    manifest.commit(ACME, [record("b.md", generation=2, chunks=())], gone=["acme:a.md"])
    told.append(manifest.is_emptied(ACME))
    manifest.record_intents(ACME, [intent("acme:c.md", listed=("n",))])
    told.append(manifest.is_emptied(ACME))
    assert told == [False, False, True, False]


def test_an_intent_stays_as_it_was_written_until_it_is_cleared(manifest: Manifest):
    manifest.record_intents(ACME, [intent("acme:a.md", ("n2",), ("o",))])
    assert manifest.intents(ACME) == [intent("acme:a.md", ("n2",), ("o",))]
    manifest.clear_intents(["acme:a.md"])
    assert manifest.intents(ACME) == []


def test_a_document_has_one_intent_at_a_time(manifest: Manifest):
    manifest.record_intents(ACME, [intent("acme:a.md")])
    with pytest.raises(StorageError):
        manifest.record_intents(ACME, [intent("acme:b.md"), intent("acme:a.md")])
    assert [one.document_id for one in manifest.intents(ACME)] == ["acme:a.md"]


def test_a_manifest_of_another_format_is_refused_with_the_remedy(manifest: Manifest, database: DatabaseSettings):
    manifest.close()
    if isinstance(manifest.place, Path):
        connection = sqlite3.connect(manifest.place)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        with asking(database) as connection:
            connection.execute(sa.text(f"UPDATE {manifest.place.name}.format SET version = 99"))
    with pytest.raises(StorageError, match="format 99.*new folder"):
        Manifest(manifest.place)


def test_more_documents_than_a_statement_has_variables_for_go_in_one_step(manifest: Manifest):
    many = [record(f"{n}.md", chunks=()) for n in range(33_000)]
    manifest.commit(ACME, many)
    manifest.record_intents(ACME, [intent(one.id) for one in many])
    ids = [one.id for one in many]
    manifest.commit(ACME, [], gone=ids)
    manifest.clear_intents(ids)
    assert (manifest.documents(ACME), manifest.intents(ACME)) == ({}, [])


def test_what_was_committed_is_there_after_a_restart(manifest: Manifest):
    manifest.commit(ACME, [record("a.md")])
    manifest.close()
    again = Manifest(manifest.place)
    assert again.documents(ACME) == {"a.md": record("a.md")}
    again.close()


def test_a_file_that_is_no_manifest_is_named(tmp_path: Path):
    file = tmp_path / "manifest.sqlite"
    file.write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageError, match="manifest") as caught:
        Manifest(file)
    assert str(file) in str(caught.value)


def test_a_manifest_of_the_format_before_is_brought_on(manifest: Manifest):
    manifest.commit(ACME, [record("a.md")])
    with manifest._database.writing() as connection:
        connection.execute(sa.schema.DropIndex(next(one for one in TABLE.indexes if one.name == "originals_noted")))
        connection.execute(sa.DDL("ALTER TABLE %(fullname)s DROP COLUMN notes").against(TABLE))
        connection.execute(sa.insert(_runs).values(tenant="acme", collection="docs", digest="d", documents=1, chunks=2))
        for column in ("found", "noted", "passed_over"):
            connection.execute(sa.DDL(f"ALTER TABLE %(fullname)s DROP COLUMN {column}").against(_runs))
        if connection.dialect.name == POSTGRES:
            connection.execute(sa.update(_format).values(version=1))
        else:
            connection.execute(sa.text("PRAGMA user_version = 1"))
    for generation in (2, 3):
        with closing(Manifest(manifest.place)) as again:
            with again._database.reading() as connection:
                assert connection.execute(sa.select(_runs)).all() == []
            assert again.documents(ACME)["a.md"].generation == generation - 1
            lost = Original("acme:a.md", generation, 3, notes=(Note(NoteCode.OBJECTS, "a \0", "page 1"),))
            again.record_intents(ACME, [intent("acme:a.md")], [lost])
            again.commit(ACME, [record("a.md", generation)])
            again.clear_intents(["acme:a.md"])
            assert again.originals.noted(ACME) == {"a.md": lost.notes}


def test_a_damaged_file_is_told_with_what_to_do(tmp_path: Path):
    (tmp_path / "manifest.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="file is not a database.*a file that is damaged: restore it, or remove it"):
        Manifest(tmp_path / "manifest.sqlite")
