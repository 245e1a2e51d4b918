"""What documents that went in lost is told by the run that read them: counted, listed, and shown to a person."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from ragsaver.cli.output import tell_losses
from ragsaver.ingestion.applying import Step
from ragsaver.ingestion.lifecycle import Lifecycle
from ragsaver.ingestion.losses import told_notes
from ragsaver.ingestion.notes import Note, NoteCode
from ragsaver.ingestion.report import IngestNote, NotedBefore
from ragsaver.ingestion.selection import DocumentSelection
from tests.commands import as_json, run
from tests.ingestion.bench import SCOPE, Bench, Stopped
from tests.pdf_files import PICTURE, pdf

SCAN = pdf([["Owls hunt voles."], []], drawn={1: PICTURE})
LOST = Note(NoteCode.FORMULAS, "3 formulas have no calculated value and are left out")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_a_run_tells_of_what_it_brought_in(bench: Bench):
    (bench.docs / "a.md").write_text("# A\n\nthe zebra")
    (bench.docs / "scan.pdf").write_bytes(SCAN)
    report = bench.ingest()
    told = IngestNote(
        source="docs/scan.pdf",
        code=NoteCode.PAGES_WITHOUT_TEXT,
        note="pictures without text, which are not in the index",
        where="page 2",
    )
    assert (report.notes, report.noted) == ((told,), {"pages-without-text": 1})
    assert report.noted_before == NotedBefore()
    (bench.docs / "scan.pdf").write_bytes(SCAN.replace(b"voles", b"mice."))
    assert bench.ingest().notes == (told,)


def test_a_run_that_leaves_documents_alone_tells_how_many_of_them_are_in_in_part(bench: Bench):
    (bench.docs / "a.md").write_text("# A\n\nthe zebra")
    (bench.docs / "scan.pdf").write_bytes(SCAN)
    first = bench.ingest()
    before = NotedBefore(documents=1, notes=first.notes, noted=first.noted)
    for more in ({}, {}, {"checksum": True}, {"include": ("*.pdf",)}):  # the second one looks at no document
        again = bench.ingest(**more)
        assert (again.notes, again.noted, again.noted_before) == ((), {}, before)
    assert bench.ingest(include=("*.md",)).noted_before == NotedBefore()
    (bench.docs / "scan.pdf").write_bytes(pdf([["Owls hunt voles."]]))
    assert bench.ingest().notes == () and bench.ingest().noted_before == NotedBefore()


def test_a_plan_tells_what_its_run_will_tell(bench: Bench):
    (bench.docs / "new.pdf").write_bytes(SCAN)
    for _ in range(2):
        plan, report = bench.plan(), bench.ingest()
        assert (plan.notes, plan.noted, plan.noted_before) == (report.notes, report.noted, report.noted_before)
        assert plan.noted or plan.noted_before.documents


def test_what_a_document_lost_goes_with_it(bench: Bench):
    (bench.docs / "scan.pdf").write_bytes(SCAN)
    bench.ingest()
    (bench.docs / "scan.pdf").rename(bench.docs / "b.pdf")
    bench.ingest(prune=True)
    assert list(bench.manifest.originals.noted(SCOPE)) == ["docs/b.pdf"]
    bench.ingestor().forget(SCOPE, lambda known: list(known.values()))
    assert bench.manifest.originals.noted(SCOPE) == {}


def test_a_version_that_never_came_in_has_lost_nothing(bench: Bench):
    (bench.docs / "scan.pdf").write_bytes(pdf([["Owls hunt voles."]]))
    bench.ingest()
    (bench.docs / "scan.pdf").write_bytes(SCAN)
    with pytest.raises(Stopped):
        bench.ingest(stop_after=Step.UPSERTED)
    assert bench.manifest.originals.noted(SCOPE) == {}
    assert bench.ingest().noted and bench.manifest.originals.noted(SCOPE)


def test_an_unchanged_corpus_takes_as_many_statements_whatever_it_lost(bench: Bench):
    statements: list[str] = []
    engine = bench.manifest._database._engine  # type: ignore[union-attr]
    sa.event.listen(engine, "before_cursor_execute", lambda *of: statements.append(of[2]))
    counts = []
    for number in range(3):
        (bench.docs / f"{number}.pdf").write_bytes(SCAN)
        for _ in range(2):
            bench.ingest()
        statements.clear()
        assert bench.ingest().noted_before.documents == number + 1
        counts.append(len(statements))
    assert len(set(counts)) == 1
    query = next(one for one in statements if "notes" in one)
    with bench.manifest._database.reading() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", ("acme", "docs")).all()
    assert not [row for row in plan if row[3].startswith("SCAN")] and "originals_noted" in str(plan)


def test_listing_and_report_tell_what_documents_lost(bench: Bench):
    (bench.docs / "a.md").write_text("# A\n\nthe zebra")
    (bench.docs / "scan.pdf").write_bytes(SCAN)
    notes = bench.ingest().notes
    lifecycle = Lifecycle(bench.settings, bench.manifest, bench.ingestor(), 16)
    assert [one.notes for one in lifecycle.list(DocumentSelection(), SCOPE).documents] == [(), notes]
    report = lifecycle.report(SCOPE)
    assert (report.in_part.documents, report.in_part.noted) == (1, {"pages-without-text": 1})
    assert 0 < report.in_part.payload_bytes < report.total.payload_bytes


def test_a_document_that_the_quota_keeps_out_is_no_document_in_part(tmp_path: Path):
    bench = Bench(tmp_path, lifecycle={"quota": {"max_documents": 0}})
    (bench.docs / "scan.pdf").write_bytes(SCAN)
    report = bench.ingest()
    bench.close()
    assert report.documents.failed == 1 and not report.notes


def test_the_first_hundred_are_listed_and_all_are_counted():
    told = told_notes([(f"{n}.xlsx", (LOST, Note(NoteCode.ATTACHMENTS, "x"))) for n in range(120)])
    assert len(told["notes"]) == 100
    assert told["noted"] == {NoteCode.FORMULAS: 120, NoteCode.ATTACHMENTS: 120}


def test_names_that_no_terminal_or_json_takes_are_shown(capsys: pytest.CaptureFixture[str]):
    told = told_notes([("a\x1b.pdf\ud800", (Note(NoteCode.ATTACHMENTS, "attached files", "b\x07\0.exe"),))])
    tell_losses(told["notes"], told["noted"])
    said = capsys.readouterr().out
    assert said.isascii() and not {"\x1b", "\x07", "\0"} & set(said)


def test_a_person_is_shown_the_first_twenty(capsys: pytest.CaptureFixture[str]):
    told = told_notes([(f"{n}.xlsx", (LOST,)) for n in range(130)])
    tell_losses(told["notes"], told["noted"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("not in the index: formulas-without-value in 130")
    assert lines[1] == "  0.xlsx: 3 formulas have no calculated value and are left out"
    assert len(lines) == 22 and lines[-1] == "  and 110 more"
    tell_losses((), {})
    assert capsys.readouterr().out == ""


def test_the_command_tells_people_and_scripts(tmp_path: Path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "scan.pdf").write_bytes(SCAN)
    report = as_json(tmp_path, "ingest", "docs")
    assert report["noted"] == {"pages-without-text": 1}
    assert report["notes"][0]["where"] == "page 2"
    before = {"documents": 1, "notes": report["notes"], "noted": report["noted"]}
    assert as_json(tmp_path, "ingest", "docs")["noted_before"] == before
    assert as_json(tmp_path, "plan", "docs")["noted_before"] == before
    for command in ("ingest", "plan"):
        said = run(tmp_path, command, "docs").stdout
        assert "1 unchanged documents went in with a loss before: pages-without-text in 1 (" in said
        assert "page 2" not in said
    said = run(tmp_path, "documents", "list").stdout
    assert "    not in the index: pictures without text, which are not in the index (page 2)\n" in said
    assert "in part: 1 documents" in run(tmp_path, "documents", "report").stdout
    said = run(tmp_path, "ingest", "docs", "--collection", "other").stdout
    assert "  docs/scan.pdf: pictures without text, which are not in the index (page 2)\n" in said
