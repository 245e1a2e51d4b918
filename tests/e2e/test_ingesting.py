"""What the options of `ingest` and `plan` do, as a user runs them."""

import subprocess
import sys
from pathlib import Path

import pytest

from ragsaver.cli.doctor import _disk
from ragsaver.errors import StorageError
from ragsaver.settings import Settings
from tests.commands import as_json, environment, run, serving


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("guide.md", "notes.txt", "drafts/idea.md"):
        file = tmp_path / "docs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"The file {name} speaks of zebras.")
    return tmp_path


@pytest.mark.parametrize("through_a_server", [False, True])
def test_plan_and_ingest_take_the_same_options(project: Path, through_a_server: bool):
    def check() -> None:
        patterns = ("--exclude", "drafts/", "--include", "*.md")
        planned = as_json(project, "plan", "docs", *patterns)
        assert [change["source"] for change in planned["changes"]] == ["docs/guide.md"]
        assert planned["changes"][0]["reason"] == "new"
        assert as_json(project, "ingest", "docs", *patterns)["documents"]["added"] == 1
        assert as_json(project, "plan", "docs", *patterns)["changes"] == []
        shown = run(project, "plan", "docs").stdout
        assert "docs/notes.txt: 1 to embed" in shown and "2 new" in shown
        assert as_json(project, "ingest", "docs", "--checksum")["documents"]["unchanged"] == 1

    if through_a_server:
        with serving(project):
            check()
    else:
        check()


def test_an_ingestion_that_is_too_dear_is_refused_before_anything_is_spent(project: Path):
    dear = {"RAGSAVER_SPEND__EMBEDDING_PER_MTOK": "1000000"}
    error = as_json(project, "ingest", "docs", "--max-cost", "0.01", code=2, **dear)["error"]
    assert error["type"] == "urn:ragsaver:problem:too-expensive"
    assert as_json(project, "verify")["documents"] == 0
    assert as_json(project, "ingest", "docs", "--max-cost", "100", **dear)["embedding"]["cost_usd"] > 0
    for wrong in ("much", "-1", "nan"):
        said = run(project, "ingest", "docs", "--max-cost", wrong, code=2).stderr
        assert "--max-cost " in said and "--help" in said


@pytest.mark.parametrize("command", [("ingest", "docs"), ("plan", "docs"), ("documents", "delete", "--under", "docs")])
def test_an_option_with_a_wrong_value_is_named_as_it_was_written(project: Path, command: tuple[str, ...]):
    said = as_json(project, *command, "--collection", "a/b", code=2)["error"]["problem"]
    assert said.startswith("--collection has a value that is not allowed")


def test_an_ignore_file_keeps_documents_out(project: Path):
    (project / "docs" / ".ragsaverignore").write_text("drafts/\n")
    assert as_json(project, "ingest", "docs")["documents"]["added"] == 2


def test_a_document_that_kills_its_reader_fails_alone(project: Path):
    deep = "[" * 200_000
    (project / "docs" / "deep.json").write_text(deep)
    report = as_json(project, "ingest", "docs", code=3, RAGSAVER_INGESTION__CONVERT_TIMEOUT_S="20")
    assert (report["documents"]["added"], report["documents"]["failed"]) == (3, 1)
    assert "deep.json" in report["errors"][0]["error"]


def test_a_plan_says_what_would_fail_in_the_words_of_its_run(project: Path):
    (project / "docs" / "cut.pdf").write_bytes(b"%PDF-1.4 junk")
    quota = {"RAGSAVER_LIFECYCLE__QUOTA__MAX_DOCUMENTS": "2"}
    planned = run(project, "plan", "docs", **quota)
    done = run(project, "ingest", "docs", code=3, **quota)
    assert "2 would fail\n" in planned.stdout and "2 failed\n" in done.stdout
    assert planned.stderr.replace("would fail: ", "failed: ") == done.stderr
    assert "docs/cut.pdf: is no readable PDF" in done.stderr and ".." not in done.stderr


def test_a_state_that_cannot_be_written_is_told_by_the_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ragsaver.cli.doctor.os.access", lambda place, mode: place != tmp_path)
    settings = Settings(home=tmp_path / "home")
    with pytest.raises(StorageError, match="can't be written"):
        _disk(settings)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_who_closes_what_is_said_has_the_work_done(project: Path, closed: str):
    command = f"{sys.executable} -m ragsaver ingest docs --json {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=project, env=environment(project), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert as_json(project, "verify")["documents"] == 3


@pytest.mark.parametrize("how", ["", "--json"])
def test_what_cannot_be_said_for_want_of_space_is_an_error_in_words(project: Path, how: str):
    command = f"{sys.executable} -m ragsaver ingest docs {how} > /dev/full"
    done = subprocess.run(["sh", "-c", command], cwd=project, env=environment(project), capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "the disk is full" in done.stderr
