"""A change is told once, with the first answer at the beginning, and what does not count is not told."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragsaver.errors import UsageError
from ragsaver.ingestion.sources import watch
from ragsaver.ingestion.sources.watching import counts
from ragsaver.settings import SourcesSettings


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def watching(cwd: Path, stop: threading.Event, *paths: str) -> Iterator[None]:
    settings = SourcesSettings(watch_debounce_ms=50)
    return watch(paths, home=cwd / "docs" / "state", cwd=cwd, settings=settings, stop=stop)


def test_a_change_is_told_and_a_stop_ends_it(tmp_path: Path, stop: threading.Event):
    (tmp_path / "docs").mkdir()
    changes = watching(tmp_path, stop, "docs", "https://example.com/", "memory://x")
    next(changes)
    (tmp_path / "docs" / "a.md").write_text("text")
    next(changes)
    (tmp_path / "docs" / "a.md").unlink()
    next(changes)
    stop.set()
    assert list(changes) == []


def test_a_file_that_is_replaced_is_told(tmp_path: Path, stop: threading.Event):
    (tmp_path / "a.md").write_text("old")
    changes = watching(tmp_path, stop, "a.md")
    next(changes)
    (tmp_path / "new").write_text("new")
    (tmp_path / "new").replace(tmp_path / "a.md")
    next(changes)


def test_a_folder_that_gives_way_to_another_is_watched_on(tmp_path: Path, stop: threading.Event):
    docs = tmp_path / "docs"
    docs.mkdir()
    changes = watching(tmp_path, stop, "docs")
    next(changes)
    for number in range(3):
        shutil.rmtree(docs)
        docs.mkdir()
        next(changes)
        (docs / f"{number}.md").write_text("text")
        next(changes)


def test_a_folder_that_vanishes_is_told_and_watched_when_it_is_back(tmp_path: Path, stop: threading.Event):
    docs = tmp_path / "docs"
    docs.mkdir()
    changes = watching(tmp_path, stop, "docs")
    next(changes)
    docs.rename(tmp_path / "elsewhere")
    next(changes)
    (tmp_path / "elsewhere").rename(docs)
    next(changes)
    (docs / "a.md").write_text("text")
    next(changes)


def test_what_is_due_is_told_without_a_change(tmp_path: Path, stop: threading.Event):
    (tmp_path / "docs").mkdir()
    due = iter((False, False, True)).__next__
    settings = SourcesSettings(watch_debounce_ms=50)
    changes = watch(["docs"], home=tmp_path / "home", cwd=tmp_path, settings=settings, stop=stop, due=due)
    next(changes)
    next(changes)
    with pytest.raises(StopIteration):
        due()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/docs/a.md", True),
        ("/docs", True),
        ("/docs/deep/.ragsaverignore", True),
        ("/docs/.git/index", False),
        ("/docs/.a.md.swp", False),
        ("/docs/state/index.db", False),
        ("/docs/state", False),
        ("/elsewhere/a.md", False),
        ("/docs-too/a.md", False),
        ("/.hidden/docs/a.md", True),
    ],
)
def test_what_counts_as_a_change(path: str, told: bool):
    assert counts(path, ["/docs", "/.hidden/docs"], "/docs/state") == told


@pytest.mark.parametrize(
    "paths", [["gone"], ["https://example.com/", "sitemap:https://example.com/s.xml"], ["urls:gone"], []]
)
def test_without_anything_to_watch_that_is_told_at_once(tmp_path: Path, stop: threading.Event, paths: list[str]):
    with pytest.raises(UsageError):
        watching(tmp_path, stop, *paths)
