"""What `verify` sees of points that another hand altered, and how it mends them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragsaver.ingestion.comparing import is_near
from ragsaver.ingestion.sources import PostedDocument
from tests.index.engines import KINDS, engine
from tests.ingestion.bench import SCOPE, Bench

TEXT = "# Animals\n\nintroduction\n\n## Zebras\n\n" + "zebra " * 80 + "\n\n## Horses\n\n" + "horse " * 80

SOURCES = ["docs/a.md", "docs/untitled.txt", "note"]


@pytest.fixture(params=KINDS)
def bench(tmp_path: Path, request: pytest.FixtureRequest):
    with engine(request.param, tmp_path) as opening:
        yield from ingested(Bench(tmp_path, opening))


def ingested(made: Bench) -> Iterator[Bench]:
    (made.docs / "a.md").write_text(TEXT)
    (made.docs / "untitled.txt").write_text("an owl without a heading")
    posted = [
        PostedDocument("note", "a posted vole", metadata={"stars": 4.3, "far": 0.1 + 0.2, "of": {"team": ["owls", 7]}})
    ]
    made.ingest()
    made.ingestor().ingest_texts(posted, SCOPE)
    yield made
    made.close()


def carried(bench: Bench) -> dict[str, Any]:
    points = [point for point, _ in bench.index.ids(SCOPE)]
    return bench.index.payloads(SCOPE, points)


def found_of(bench: Bench, source: str) -> list[str]:
    return list(bench.manifest.documents(SCOPE)[source].points)


def overwrite(bench: Bench, point: str, **changed: Any) -> None:
    """As another hand does: the whole point, listed as it was."""
    stored = next(one for some in bench.index.stored(SCOPE) for one in some if one.id == point)
    bench.index.restore(SCOPE, [replace(stored, **changed)])


def test_what_nobody_altered_is_as_it_was(bench: Bench):
    before = carried(bench)
    report = bench.verify(vectors=True)
    assert (report.altered, report.repaired, report.vectors) == (0, 0, len(before))
    assert carried(bench) == before


@pytest.mark.parametrize(
    "change",
    [
        {"text": "TAMPERED"},
        {"text": None},
        {"title": "TAMPERED"},
        {"heading": "TAMPERED"},
        {"source": "another.md"},
        {"ordinal": 7},
        {"page": 7},
        {"chunk_hash": "0" * 32},
        {"metadata": {"stars": 1}},
        {"metadata": "TAMPERED"},
    ],
    ids=str,
)
def test_what_points_say_is_made_again_from_their_documents(bench: Bench, change: dict[str, Any]):
    before, paid = carried(bench), len(bench.encoder.paid)
    bench.index.set_payload(SCOPE, {found_of(bench, source)[-1]: change for source in SOURCES})

    report = bench.verify()

    assert (report.altered, report.missing, report.orphaned, report.repaired) == (3, 0, 0, 3)
    assert carried(bench) == before
    assert bench.listed() == before.keys()
    assert (bench.verify().altered, len(bench.encoder.paid)) == (0, paid)


def test_a_point_that_another_took_the_place_of_is_made_again(bench: Bench):
    before, paid = carried(bench), len(bench.encoder.paid)
    one, other = found_of(bench, "docs/a.md")[:2]
    payload = {**before[one], "text": before[other]["text"]}
    overwrite(bench, one, payload=payload, vector=bench.encoder.vectors(["another"])[0])
    wanted = bench.index.vectors(SCOPE, [other])

    report = bench.verify()

    assert (report.altered, report.repaired) == (1, 1)
    assert carried(bench) == before
    assert bench.verify(vectors=True).altered == 0
    assert np.array_equal(bench.index.vectors(SCOPE, [other])[other], wanted[other])
    assert len(bench.encoder.paid) == paid


def test_a_vector_alone_is_seen_where_that_is_asked_for(bench: Bench):
    point = found_of(bench, "note")[0]
    before = bench.index.vectors(SCOPE, [point])[point]
    overwrite(bench, point, vector=bench.encoder.vectors(["another"])[0])
    assert bench.verify().altered == 0
    report = bench.verify(vectors=True)
    assert (report.altered, report.repaired) == (1, 1)
    assert np.array_equal(bench.index.vectors(SCOPE, [point])[point], before)


def test_a_vector_that_is_only_rounded_otherwise_is_the_same():
    vector = np.random.default_rng(7).normal(size=384).astype(np.float32)
    vector /= np.linalg.norm(vector)
    assert is_near(vector, vector.astype(np.float16).astype(np.float32))
    assert not is_near(vector, 2 * vector)
    assert not is_near(vector, vector[::-1])
    assert not is_near(vector, vector[:16])


def test_what_can_not_be_made_again_stays_and_is_told_each_time(bench: Bench):
    before, points = carried(bench), found_of(bench, "docs/a.md")
    bench.index.set_payload(SCOPE, {points[0]: {"text": "TAMPERED"}})
    (bench.docs / "a.md").unlink()
    for _ in range(2):
        report = bench.verify()
        assert (report.altered, report.orphaned, report.repaired) == (1, 0, 0)
        assert set(points) <= bench.listed()
    (bench.docs / "a.md").write_text(TEXT)
    assert bench.ingest().documents.changed == 1
    assert carried(bench) == before
    assert bench.verify().altered == 0


def test_nothing_is_left_of_an_altered_point_whose_document_says_something_else_by_now(bench: Bench):
    bench.index.set_payload(SCOPE, {found_of(bench, "docs/untitled.txt")[0]: {"text": "TAMPERED"}})
    (bench.docs / "untitled.txt").write_text("an eagle")
    report = bench.verify()
    assert (report.altered, report.repaired) == (1, 1)
    assert bench.listed() == {point for one in bench.manifest.documents(SCOPE).values() for point in one.points}
    assert bench.found("tampered owl") == set()


def test_an_altered_point_that_is_hidden_is_not_shown_before_it_is_made_again(bench: Bench):
    point = found_of(bench, "docs/untitled.txt")[0]
    stored = next(one for some in bench.index.stored(SCOPE) for one in some if one.id == point)
    hidden = {key: value for key, value in stored.payload.items() if key != "listed_in"}
    bench.index.restore(SCOPE, [replace(stored, payload={**hidden, "text": "TAMPERED"})])
    (bench.docs / "untitled.txt").unlink()
    bench.verify()
    assert point not in bench.listed()
