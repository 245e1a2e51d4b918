"""What a folder holds and nobody can read is counted once; old Office files are tried where somebody means them."""

import os
from collections import Counter
from pathlib import Path

import fsspec
import pytest

from ragsaver.ingestion.sources import list_sources, suffixless
from ragsaver.settings import SourcesSettings
from tests.commands import as_json, run

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
REMEDY = {".doc": ".docx", ".xls": ".xlsx", ".ppt": ".pptx"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    (docs / "sub").mkdir(parents=True)
    (docs / "a.md").write_text("# A\n\nThe zebra sleeps.")
    for name in ("old.doc", "sub/OLD.DOC", "sheet.xls", "slides.ppt", "photo.png", "Makefile", ".hidden.doc"):
        (docs / name).write_bytes(OLE)
    (docs / "sub" / ".ragsaverignore").write_text("left-out.*\n")
    (docs / "sub" / "left-out.doc").write_bytes(OLE)
    return tmp_path


def listed(cwd: Path, *paths: str, **globs: list[str]) -> tuple[list[str], Counter[str]]:
    passed_over: Counter[str] = Counter()
    items = list_sources(
        paths,
        home=cwd / "home",
        cwd=cwd,
        settings=SourcesSettings(),
        max_bytes=10_000,
        passed_over=passed_over,
        **globs,
    )
    return [item.source for item in items], passed_over


def test_a_walk_counts_what_it_passes_over_for_its_kind_and_nothing_else(folder: Path):
    names, passed_over = listed(folder, "docs")
    assert names == ["docs/a.md"]
    assert passed_over == {".doc": 2, ".xls": 1, ".ppt": 1, ".png": 1, "no suffix": 1}
    assert listed(folder, "docs", exclude=["*.png", "sub/"])[1] == {".doc": 1, ".xls": 1, ".ppt": 1, "no suffix": 1}


def test_links_to_folders_and_pipes_are_no_files_that_cannot_be_read(folder: Path):
    docs = folder / "docs"
    (docs / "again").symlink_to("sub")
    (docs / "circle").symlink_to("circle")
    (docs / "nowhere.png").symlink_to("nothing")
    (docs / "copy.png").symlink_to("photo.png")
    os.mkfifo(docs / "pipe")
    assert listed(folder, "docs")[1] == {".doc": 2, ".xls": 1, ".ppt": 1, ".png": 2, "no suffix": 1}


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        (b"# Notes\n\nThe zebra sleeps.", True),
        (("x" * 4095 + "é is cut in two").encode(), True),
        (b"#!/bin/sh\nexec owls", False),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl", False),
        (b"\x7fELF\x02\x01", False),
        (b"%PDF-1.7 zebra", False),
        (b"zebra\x00zebra", False),
        ("Die Eule h\xf6rt".encode("latin-1"), False),
        (b"", False),
    ],
)
def test_a_file_without_suffix_is_taken_where_it_begins_as_text(tmp_path: Path, content: bytes, taken: bool):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# A")
    (tmp_path / "docs" / "NOTES").write_bytes(content)
    (tmp_path / "docs" / "link").symlink_to("NOTES")
    names, passed_over = listed(tmp_path, "docs")
    assert names == (["docs/NOTES", "docs/a.md"] if taken else ["docs/a.md"])
    assert passed_over == ({} if taken else {"no suffix": 2})
    assert listed(tmp_path, "docs", exclude=["NOTES", "link"]) == (["docs/a.md"], {})


def test_a_file_without_suffix_that_cannot_be_read_is_told_and_a_pipe_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "NOTES").write_text("zebra")
    os.mkfifo(tmp_path / "docs" / "pipe")

    def refused(*_: object):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(suffixless, "read_head", refused)
    assert listed(tmp_path, "docs")[0] == ["docs/NOTES"]


def test_a_store_counts_likewise(folder: Path):
    store = fsspec.filesystem("memory")
    for name in ("bucket/a.md", "bucket/old.doc", "bucket/photo.png", "bucket/.git/x.doc"):
        store.pipe(f"/{name}", b"# A\n\nzebra")
    try:
        names, passed_over = listed(folder, "memory://bucket")
        assert (names, passed_over) == (["memory://bucket/a.md"], {".doc": 1, ".png": 1})
        assert listed(folder, "memory://bucket", include=["*.doc"])[0] == ["memory://bucket/old.doc"]
    finally:
        store.rm("/bucket", recursive=True)


def test_what_a_pattern_includes_is_tried(folder: Path):
    names, passed_over = listed(folder, "docs", include=["*.doc", "*.DOC", "*.md", "*.png"])
    assert names == ["docs/a.md", "docs/old.doc", "docs/sub/OLD.DOC"]
    assert passed_over == {".png": 1}


@pytest.mark.parametrize("name", ["old.doc", "sheet.xls", "slides.ppt"])
def test_an_old_office_file_that_is_meant_fails_with_what_to_save_it_as(folder: Path, name: str):
    for arguments in ((f"docs/{name}",), ("docs", "--include", f"*{Path(name).suffix}", "--exclude", "sub/")):
        report = as_json(folder, "ingest", *arguments, code=3)
        (failure,) = report["errors"]
        assert failure["source"] == f"docs/{name}"
        assert REMEDY[Path(name).suffix] in failure["error"]


def test_a_folder_is_no_failure_for_them_and_the_report_says_once_how_many(folder: Path):
    report = as_json(folder, "ingest", "docs")
    assert report["documents"]["failed"] == 0 and report["documents"]["seen"] == 1
    assert report["passed_over"] == {".doc": 2, ".xls": 1, ".ppt": 1, ".png": 1, "no suffix": 1}
    said = run(folder, "plan", "docs").stdout
    assert said.count("files passed over") == 1 and "6 files passed over" in said and "2 .doc" in said
    assert "1 no suffix (tried where it is named itself)" in said
    (folder / "docs" / "Makefile").write_text("all: the owls")
    assert as_json(folder, "ingest", "docs/Makefile")["documents"]["added"] == 1
