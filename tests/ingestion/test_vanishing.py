"""A file that is removed between listing and reading is gone, and not a failure."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragsaver.ingestion.ordered import items_of
from ragsaver.ingestion.report import Progress
from tests.ingestion.bench import SCOPE, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    for name in "abc":
        (made.docs / f"{name}.md").write_text(f"The file {name} speaks of zebras.")
    yield made
    made.close()


def test_a_file_that_is_removed_before_it_is_read_fails_nothing(bench: Bench):
    def remove(progress: Progress) -> None:
        (bench.docs / "c.md").unlink(missing_ok=True)

    report = bench.ingestor().ingest(bench.order(), SCOPE, progress=remove)
    assert report.errors == ()
    there = report.documents
    assert (there.seen, there.added, there.failed, there.vanished) == (3, 2, 0, 1)
    assert set(bench.manifest.documents(SCOPE)) == {"docs/a.md", "docs/b.md"}
    assert bench.plan().documents.vanished == 0


def test_what_was_in_of_a_removed_file_stays_until_a_run_prunes(bench: Bench):
    bench.ingest()
    for name in "abc":
        (bench.docs / f"{name}.md").write_text(f"The file {name} speaks of owls now.")
    items = list(items_of(bench.order(), bench.settings, dict))
    (bench.docs / "b.md").unlink()
    report = bench.ingestor().ingest_items(items, SCOPE)
    assert (report.documents.changed, report.documents.vanished, report.errors) == (2, 1, ())
    assert "The file b speaks of zebras." in bench.found("zebras")
    assert bench.ingest(prune=True).documents.deleted == 1
    assert set(bench.manifest.documents(SCOPE)) == {"docs/a.md", "docs/c.md"}
