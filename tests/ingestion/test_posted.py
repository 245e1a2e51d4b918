"""A posted text and a file may have the same name: the later one stands, and that is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragsaver.ingestion.sources import PostedDocument
from tests.ingestion.bench import SCOPE, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    (made.docs / "z.md").write_text("Zebras live in herds.")
    made.ingest()
    yield made
    made.close()


def post(bench: Bench, source: str, text: str) -> tuple[str, ...]:
    return bench.ingestor().ingest_texts([PostedDocument(source, text)], SCOPE).replaced


def test_a_text_that_takes_a_files_place_is_told_and_so_is_the_file_that_takes_it_back(bench: Bench):
    assert post(bench, "docs/z.md", "Owls hunt voles.") == ("docs/z.md",)
    assert bench.found("owls") and not bench.found("zebras")
    assert post(bench, "docs/z.md", "Owls hunt mice.") == ()
    assert bench.ingest().replaced == ("docs/z.md",)
    assert bench.found("zebras") and not bench.found("owls")
    assert bench.ingest().replaced == ()


def test_a_text_that_does_not_go_in_replaces_nothing(bench: Bench):
    assert post(bench, "docs/z.md", " ") == ()
    assert bench.found("zebras")
    assert post(bench, "other.md", "Owls hunt voles.") == ()


def test_a_posted_text_stays_when_its_namesake_is_gone(bench: Bench):
    post(bench, "docs/z.md", "Owls hunt voles.")
    (bench.docs / "z.md").unlink()
    (bench.docs / "a.md").write_text("Ants build hills.")
    assert bench.ingest(prune=True).documents.deleted == 0
    assert bench.found("owls")
