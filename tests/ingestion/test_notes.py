"""What documents that went in lost is told by the run that read them: counted, listed, and shown to a person."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragsaver.cli.output import tell_losses
from ragsaver.ingestion.accounting import told_notes
from ragsaver.ingestion.notes import Note, NoteCode
from ragsaver.ingestion.report import IngestNote
from tests.commands import as_json, run
from tests.ingestion.bench import Bench
from tests.pdf_files import PICTURE, pdf

SCAN = pdf([["Owls hunt voles."], []], drawn={1: PICTURE})
LOST = Note(NoteCode.FORMULAS, "3 formulas have no calculated value and are left out")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_a_run_tells_of_what_it_brought_in_and_not_of_what_it_left_as_it_was(bench: Bench):
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
    again = bench.ingest()
    assert (again.notes, again.noted) == ((), {})
    (bench.docs / "scan.pdf").write_bytes(SCAN.replace(b"voles", b"mice."))
    assert bench.ingest().notes == (told,)


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
    said = run(tmp_path, "ingest", "docs", "--collection", "other").stdout
    assert "  docs/scan.pdf: pictures without text, which are not in the index (page 2)\n" in said
