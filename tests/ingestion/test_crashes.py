"""A stop between any two steps costs nothing: the next run completes it, and embeds nothing twice."""

from pathlib import Path

import pytest

from ragsaver.ingestion.applying import Step
from ragsaver.settings import DatabaseSettings
from tests.ingestion.bench import SCOPE, Bench, Stopped


@pytest.fixture
def bench(tmp_path: Path, database: DatabaseSettings):
    made = Bench(tmp_path, database=database)
    yield made
    made.close()


@pytest.mark.parametrize("step", Step)
def test_a_stop_in_the_first_ingestion_is_completed(bench: Bench, step: Step):
    for n in range(3):
        (bench.docs / f"{n}.md").write_text(f"# Title {n}\n\nzebra number {n} lives here")
    with pytest.raises(Stopped):
        bench.ingest(stop_after=step)

    bench.ingest()

    assert len(bench.found("zebra")) == 3
    assert len(bench.encoder.paid) == 3
    report = bench.verify()
    assert (report.documents, report.points, report.missing, report.orphaned) == (3, 3, 0, 0)


@pytest.mark.parametrize("step", Step)
def test_the_old_version_stays_whole_until_the_new_one_is(bench: Bench, step: Step):
    file = bench.docs / "a.md"
    file.write_text("# A\n\nthe old zebra")
    bench.ingest()
    file.write_text("# A\n\nthe new zebra, which is longer")
    with pytest.raises(Stopped):
        bench.ingest(stop_after=step)
    assert len(bench.found("zebra")) == 1

    bench.ingest()

    assert bench.found("zebra") == {"the new zebra, which is longer"}
    assert len(bench.encoder.paid) == 2
    assert bench.verify().points == 1


@pytest.mark.parametrize("step", [Step.INTENT, Step.COMMITTED, Step.REWRITTEN, Step.SWAPPED, Step.CLEARED])
def test_a_stop_while_documents_go_is_completed(bench: Bench, step: Step):
    for n in range(3):
        (bench.docs / f"{n}.md").write_text(f"# Title {n}\n\nzebra number {n}")
    bench.ingest()
    (bench.docs / "1.md").unlink()
    with pytest.raises(Stopped):
        bench.ingest(stop_after=step, prune=True)

    bench.ingest(prune=True)

    assert bench.found("zebra") == {"zebra number 0", "zebra number 2"}
    report = bench.verify()
    assert (report.documents, report.points, report.orphaned) == (2, 2, 0)


def test_an_edit_after_a_stop_leaves_nothing_of_the_version_that_never_was(bench: Bench):
    file = bench.docs / "a.md"
    file.write_text("# A\n\nfirst zebra")
    bench.ingest()
    file.write_text("# A\n\nsecond zebra, never committed")
    with pytest.raises(Stopped):
        bench.ingest(stop_after=Step.UPSERTED)
    file.write_text("# A\n\nthird zebra")

    bench.ingest()

    assert bench.found("zebra") == {"third zebra"}
    assert bench.index.count(SCOPE) == 1


@pytest.mark.parametrize("step", [Step.COMMITTED, Step.REWRITTEN, Step.SWAPPED])
def test_a_chunk_that_moved_says_where_it_stands_after_a_stop(bench: Bench, step: Step):
    file = bench.docs / "a.md"
    body = "## Zebras\n\n" + "zebra " * 80
    file.write_text(f"# A\n\n{body}")
    bench.ingest()
    file.write_text(f"# A\n\n## Horses\n\n{'horse ' * 80}\n\n{body}")
    with pytest.raises(Stopped):
        bench.ingest(stop_after=step)

    bench.ingest()

    hit = bench.index.search(SCOPE, "zebra", bench.encoder.vectors(["x"])[0], 1).lexical[0]
    assert hit.payload["ordinal"] == 1
    assert len(bench.encoder.paid) == 2


def test_a_stop_between_listing_and_deleting_is_completed(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    file = bench.docs / "a.md"
    file.write_text("# A\n\nthe old zebra")
    bench.ingest()
    file.write_text("# A\n\nthe new zebra")
    update = bench.index._update

    def stop_at_the_delete(operation, points, *, frees=False):
        if frees:
            raise Stopped
        update(operation, points, frees=frees)

    monkeypatch.setattr(bench.index, "_update", stop_at_the_delete)
    with pytest.raises(Stopped):
        bench.ingest()
    monkeypatch.undo()

    bench.ingest()

    assert bench.found("zebra") == {"the new zebra"}


def test_verify_mends_what_another_hand_broke(bench: Bench):
    for n in range(3):
        (bench.docs / f"{n}.md").write_text(f"# Title {n}\n\nzebra number {n}")
    bench.ingest()
    victim = next(iter(bench.index.ids(SCOPE)))[0]
    bench.index.list_and_delete(SCOPE, [], [victim])

    report = bench.verify()

    assert (report.missing, report.repaired, report.points) == (1, 1, 3)
    assert bench.verify().missing == 0


def test_an_insertion_at_the_top_moves_only_the_cuts_near_it(bench: Bench):
    body = "\n\n".join(f"Paragraph {n} says that " + f"word{n} " * 40 for n in range(60))
    file = bench.docs / "long.md"
    file.write_text(f"# Long\n\n{body}")
    assert bench.ingest().chunks.total >= 20
    bench.encoder.paid.clear()
    file.write_text(f"# Long\n\nA new paragraph comes first.\n\n{body}")
    assert bench.ingest().chunks.embedded <= 3
