"""A run that finds what an earlier one left alone looks at no document, and anything that changes ends that."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ragsaver.index.scope import Scope
from ragsaver.ingestion import ingest
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.ordered import Listed, look
from ragsaver.ingestion.quiet import Quiet, Run
from ragsaver.ingestion.rerun import digest_of
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.settings import AccessRule
from tests.ingestion.bench import SCOPE, Bench
from tests.ingestion.test_reingestion import LONG_AGO, write

OTHER = Scope("globex", "docs")
RUN = Run("asked", "found")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    for name in ("a.md", "b.md", "sub/c.md"):
        write(made, name, f"# {name}\n\nA paragraph of {name}.\n")
    made.ingest()
    yield made
    made.close()


@pytest.fixture
def looks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[Scope]:
    """Each time that all documents of a scope are read, from the first quiet run on."""
    bench.ingest()
    seen: list[Scope] = []
    read = bench.manifest.documents
    monkeypatch.setattr(bench.manifest, "documents", lambda scope: (seen.append(scope), read(scope))[1])
    return seen


def test_a_run_that_found_nothing_is_not_made_again_and_reports_the_same(bench: Bench, looks: list[Scope]):
    done: list[tuple[int, int]] = []
    report = bench.ingestor().ingest(bench.order(), SCOPE, progress=lambda at: done.append((at.done, at.total)))
    assert looks == []
    assert (report.documents.seen, report.documents.unchanged, report.chunks.total) == (3, 3, 3)
    assert (report.chunks.embedded, done) == (0, [(3, 3)])


@pytest.mark.parametrize(
    "change",
    [
        lambda bench: write(bench, "a.md", "# a.md\n\nIt says something else.\n"),
        lambda bench: write(bench, "d.md", "# d\n\nA new one.\n"),
        lambda bench: (bench.docs / "b.md").unlink(),
        lambda bench: (bench.docs / "b.md").rename(bench.docs / "z.md"),
        lambda bench: os.utime(bench.docs / "a.md", (LONG_AGO + 1, LONG_AGO + 1)),
        lambda bench: os.utime(bench.docs / "a.md"),
        lambda bench: bench.ingestor().ingest_texts([PostedDocument("posted", "Text.")], SCOPE),
        lambda bench: bench.ingestor().forget(SCOPE, lambda known: [known["docs/a.md"]]),
    ],
)
def test_whatever_changes_is_looked_at(bench: Bench, looks: list[Scope], change):
    change(bench)
    looks.clear()
    report = bench.ingest(prune=True)
    assert looks
    assert report.documents.seen == len(list(bench.docs.rglob("*.md")))
    listed = {source for source in bench.manifest.documents(SCOPE) if source != "posted"}
    assert listed == {f"docs/{file.relative_to(bench.docs)}" for file in bench.docs.rglob("*.md")}
    assert bench.verify().missing == 0


def test_a_document_that_was_forgotten_comes_back(bench: Bench, looks: list[Scope]):
    bench.ingestor().forget(SCOPE, lambda known: [known["docs/a.md"]])
    assert bench.ingest().documents.added == 1
    bench.ingest()
    looks.clear()
    assert bench.ingest().documents.unchanged == 3
    assert looks == []


@pytest.mark.parametrize("asked", [{"checksum": True}, {"prune": True}, {"exclude": ("b.md",)}])
def test_who_asks_for_something_else_gets_it(bench: Bench, looks: list[Scope], asked):
    bench.ingest(**asked)
    assert looks == [SCOPE]


def test_another_model_is_another_run(bench: Bench, looks: list[Scope]):
    bench.encoder.fingerprint = "d" * 32
    assert bench.ingest().documents.changed == 3


def test_other_scopes_are_left_alone(bench: Bench, looks: list[Scope]):
    assert bench.ingest(scope=OTHER).documents.added == 3
    assert looks == [OTHER]
    assert bench.ingest().documents.unchanged == 3
    assert looks == [OTHER]


def test_a_run_beside_which_something_was_committed_is_not_quiet(bench: Bench):
    runs = bench.manifest.quiet_runs
    runs.begin(SCOPE, RUN)
    runs.begin(OTHER, RUN)
    record = bench.manifest.documents(SCOPE)["docs/a.md"]
    bench.manifest.commit(SCOPE, [record])
    for scope in (SCOPE, OTHER):
        runs.end(scope, RUN, Quiet(3, 3))
    assert runs.get(SCOPE, RUN) is None
    assert runs.get(OTHER, RUN) == Quiet(3, 3)


def test_a_run_that_never_ended_is_not_quiet(bench: Bench):
    bench.manifest.quiet_runs.begin(SCOPE, RUN)
    assert bench.manifest.quiet_runs.get(SCOPE, RUN) is None


def test_what_only_reading_tells_is_always_looked_at(bench: Bench):
    assert digest_of([PostedDocument("posted", "Text.").item()]) is None


def test_what_retention_may_take_is_always_looked_at(tmp_path_factory: pytest.TempPathFactory):
    bench = Bench(tmp_path_factory.mktemp("kept"), lifecycle={"retention": {"docs": {"max_age_days": 1}}})
    write(bench, "a.md", "# a\n\nText.\n")
    for _ in range(3):
        bench.ingest()
    rerun = bench.ingestor()._rerun(bench.order(), SCOPE)
    listed = look(bench.order(), bench.settings, bench.manifest, SCOPE)
    assert rerun.at_a_glance() is None and rerun.once_listed(listed) is None
    bench.close()


# Folders that need not be listed


@pytest.fixture
def listings(bench: Bench, looks: list[Scope], monkeypatch: pytest.MonkeyPatch) -> list[IngestOrder]:
    """Each time that an order's places are listed."""
    seen: list[IngestOrder] = []

    def listing(order: IngestOrder, *more: Any) -> Listed:
        seen.append(order)
        return look(order, *more)

    monkeypatch.setattr(ingest, "look", listing)
    return seen


def test_folders_that_look_as_they_did_are_not_listed_and_told_the_same(bench: Bench, listings: list[IngestOrder]):
    write(bench, "photo.png", "no text")
    write(bench, "sub/PHOTO.PNG", "no text")
    first, *again = [bench.ingest().model_copy(update={"seconds": 0}) for _ in range(3)]
    assert len(listings) == 1
    assert again == [first, first]
    assert first.passed_over == {".png": 2}


@pytest.mark.parametrize(
    "change",
    [
        lambda bench: (bench.docs / "link.md").symlink_to("a.md"),
        lambda bench: (bench.docs / "link").symlink_to("sub"),
        lambda bench: write(bench, "sub/.ragsaverignore", "c.md\n"),
        lambda bench: (bench.folder / ".ragsaverignore").write_text("docs/a.md\n"),
        lambda bench: os.utime(bench.docs / "a.md"),
    ],
)
def test_what_only_a_listing_tells_is_listed_each_time(bench: Bench, listings: list[IngestOrder], change):
    change(bench)
    for _ in range(4):
        bench.ingest()
    assert len(listings) == 4


@pytest.mark.parametrize("asked", [{"include": ("*.md",)}, {"exclude": ("b.md",)}, {"checksum": True}])
def test_who_chooses_documents_or_has_them_read_gets_a_listing(bench: Bench, listings: list[IngestOrder], asked):
    for _ in range(3):
        bench.ingest(**asked)
    assert len(listings) == 3


def test_other_readers_for_the_same_folder_are_another_run(bench: Bench, listings: list[IngestOrder]):
    bench.settings.sources.access.append(AccessRule(glob="docs/", groups=["staff"]))
    assert bench.ingest().documents.changed == 3
    assert len(listings) == 1


def test_what_changes_while_it_is_listed_is_listed_again(
    bench: Bench, listings: list[IngestOrder], monkeypatch: pytest.MonkeyPatch
):
    listing = ingest.look

    def late(order: IngestOrder, *more: Any) -> Listed:
        found = listing(order, *more)
        write(bench, "d.md", "# d\n\nIt came late.\n")
        return found

    monkeypatch.setattr(ingest, "look", late)
    write(bench, "photo.png", "no text")
    assert bench.ingest().documents.unchanged == 3
    assert bench.ingest().documents.added == 1


def test_of_runs_that_ask_the_same_the_last_one_is_kept(bench: Bench, looks: list[Scope]):
    for number in range(3):
        write(bench, f"{number}.png", "no text")
        bench.ingest()
    with bench.manifest._database.reading() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM quiet_runs")).scalar() == 1
