"""Folders that look the same are listed the same; what only a listing tells is left to it."""

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragsaver.ingestion.sources import list_sources
from ragsaver.ingestion.sources.trees import trees_of
from ragsaver.settings import SourcesSettings

LONG_AGO = 1_600_000_000
NAMES = st.sampled_from(
    ["a.md", "b.txt", "a", "c.png", ".hidden.md", "sub/a.md", "sub/b.png", "sub.md/a.md", "home/a.md"]
)
# Name by name: nothing, or so many bytes written at a time.
FILES = st.dictionaries(NAMES, st.tuples(st.integers(1, 2), st.integers(0, 1)), min_size=1)


def lay_out(folder: Path, files: dict[str, tuple[int, int]]) -> None:
    for name, (size, seconds) in files.items():
        file = folder / "docs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size)
        os.utime(file, (LONG_AGO, LONG_AGO + seconds))


def listed(folder: Path) -> tuple[list[tuple[str, str]], Counter[str]]:
    passed_over: Counter[str] = Counter()
    items = list_sources(
        ["docs"],
        home=folder / "docs" / "home",
        cwd=folder,
        settings=SourcesSettings(),
        max_bytes=1000,
        passed_over=passed_over,
        may_be_empty=lambda location, is_there: True,
    )
    return [(item.source, item.version) for item in items], passed_over


def seen(folder: Path):
    return trees_of(["docs"], home=folder / "docs" / "home", cwd=folder)


@given(before=FILES, after=FILES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_looks_the_same_is_listed_the_same(tmp_path_factory: pytest.TempPathFactory, before, after):
    root = tmp_path_factory.mktemp("trees")
    place, found = root / "here", []
    for files in (before, after, before):
        lay_out(place, files)
        look = seen(place)
        assert look is not None
        found.append((look, listed(place)))
        place.rename(root / f"gone{len(found)}")
    assert found[0] == found[2]
    assert (found[0][0] == found[1][0]) == (found[0][1] == found[1][1] and shape(before) == shape(after))


def shape(files: dict[str, tuple[int, int]]) -> set[str]:
    """Names of what is passed over, and of folders: they count beside what is listed."""
    folders = {name.partition("/")[0] for name in files if "/" in name and not name.startswith("home/")}
    return folders | {name for name in files if name.endswith(".png") or name == "a"}


@pytest.mark.parametrize(
    "change",
    [
        lambda docs: (docs / "link.md").symlink_to("a.md"),
        lambda docs: (docs / "sub" / "link").symlink_to(".."),
        lambda docs: (docs / "sub" / ".ragsaverignore").write_text("x"),
        lambda docs: (docs.parent / ".ragsaverignore").write_text("x"),
        lambda docs: os.utime(docs / "sub" / "c.md"),
        lambda docs: os.mkfifo(docs / "pipe.md"),
        lambda docs: docs.rename(docs.with_name("elsewhere")),
    ],
)
def test_what_only_a_listing_tells_is_left_to_it(tmp_path: Path, change):
    lay_out(tmp_path, {"a.md": (1, 0), "sub/c.md": (1, 0)})
    assert seen(tmp_path) is not None
    change(tmp_path / "docs")
    assert seen(tmp_path) is None


def test_a_file_or_an_address_is_no_folder(tmp_path: Path):
    lay_out(tmp_path, {"a.md": (1, 0)})
    for path in ("docs/a.md", "https://example.org/", (tmp_path / "docs").as_uri()):
        assert trees_of(["docs", path], home=tmp_path / "home", cwd=tmp_path) is None


def test_a_folder_that_is_out_of_reach_is_left_to_a_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lay_out(tmp_path, {"a.md": (1, 0), "sub/c.md": (1, 0)})
    scandir = os.scandir

    def refusing(path: str):
        if path.endswith("sub"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)  # root looks into everything
    assert seen(tmp_path) is None


def test_a_link_to_a_folder_of_the_same_look_is_another_folder(tmp_path: Path):
    for name in ("one", "two"):
        lay_out(tmp_path / name, {"a.md": (1, 0)})
    link = tmp_path / "docs"
    link.symlink_to("one/docs")
    before = seen(tmp_path)
    link.unlink()
    link.symlink_to("two/docs")
    assert before is not None and seen(tmp_path) not in (None, before)
