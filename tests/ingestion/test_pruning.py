"""Pruning takes out what is gone, the last document too, and nothing that only can't be seen."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragsaver.errors import UnreadableDocument, UsageError
from ragsaver.ingestion import ingest
from ragsaver.ingestion.ordered import gone_from
from ragsaver.ingestion.sources.item import unreadable
from tests.ingestion.bench import SCOPE, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture
def filled(bench: Bench) -> Bench:
    for name in ("a", "sub/b"):
        file = bench.docs / f"{name}.md"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"The file {name} speaks of zebras.")
    bench.ingest()
    return bench


def known(bench: Bench) -> set[str]:
    return set(bench.manifest.documents(SCOPE))


def empty(folder: Path) -> None:
    for file in folder.rglob("*.md"):
        file.unlink()


def test_the_last_documents_of_a_folder_go(filled: Bench):
    empty(filled.docs)
    assert filled.plan(prune=True).documents.deleted == 2
    assert filled.ingest(prune=True).documents.deleted == 2
    assert known(filled) == filled.listed() == set()


def test_a_file_that_comes_back_after_the_look_is_not_forgotten(filled: Bench, monkeypatch: pytest.MonkeyPatch):
    look, elsewhere = ingest.look, filled.docs / "c.md"
    (filled.docs / "a.md").rename(elsewhere)

    def looked(*given):
        found = look(*given)
        if elsewhere.exists():
            elsewhere.rename(filled.docs / "a.md")
        return found

    monkeypatch.setattr(ingest, "look", looked)
    filled.ingest(prune=True)
    assert known(filled) == {"docs/a.md", "docs/sub/b.md"}
    assert filled.ingest(prune=True).documents.unchanged == 2


def test_a_file_that_is_there_and_left_out_goes(filled: Bench):
    (filled.docs / ".ragsaverignore").write_text("sub/")
    assert filled.ingest(prune=True).documents.deleted == 1
    assert known(filled) == {"docs/a.md"}


def test_an_emptied_folder_is_an_error_where_nothing_is_to_go(filled: Bench):
    empty(filled.docs)
    with pytest.raises(UsageError, match="holds no document"):
        filled.ingest()
    filled.ingest(prune=True)
    with pytest.raises(UsageError, match="holds no document"):
        filled.ingest(prune=True)


def test_a_folder_that_vanished_is_an_error_and_keeps_its_documents(filled: Bench):
    filled.docs.rename(filled.folder / "elsewhere")
    with pytest.raises(UsageError, match="no such file or folder"):
        filled.ingest(prune=True)
    assert len(known(filled)) == 2


def test_patterns_that_leave_out_everything_take_nothing_out(filled: Bench):
    with pytest.raises(UsageError, match="Patterns"):
        filled.ingest(prune=True, include=("*.mdd",))
    (filled.docs / ".ragsaverignore").write_text("*\n")
    with pytest.raises(UsageError, match="Patterns"):
        filled.ingest(prune=True)
    assert len(known(filled)) == 2


@pytest.mark.parametrize(("place", "gone"), [("docs", set()), ("docs/", set()), ("docs/sub", {"docs/a.md"})])
def test_what_lies_below_a_place_that_cannot_be_looked_into_stays(filled: Bench, place: str, gone: set[str]):
    item = unreadable(place, f"{filled.folder}/{place}", UnreadableDocument("can't be looked into"))
    documents = filled.manifest.documents(SCOPE)
    assert {record.source for record in gone_from(documents, [item], filled.order(prune=True))} == gone
