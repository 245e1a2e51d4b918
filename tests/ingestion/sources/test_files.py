"""Files are listed without being read, in order, and reading one never goes beyond it or its limit."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragsaver.errors import UnreadableDocument, UsageError
from ragsaver.ingestion.sources import SourceItem, list_sources
from ragsaver.settings import SourcesSettings


def items(cwd: Path, *paths: str | Path, home: str = ".ragsaver", max_bytes: int = 1000) -> Iterator[SourceItem]:
    return list_sources(paths, home=cwd / home, cwd=cwd, settings=SourcesSettings(), max_bytes=max_bytes)


def write(root: Path, *names: str) -> None:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"text of {name}")


def test_names_come_in_order_across_folders_and_home_and_hidden_files_never(tmp_path: Path):
    names = ["a-b.md", "a.md", "a/b.md", "a/z/q.md", "a0.md", "b/c.txt", "md"]
    write(tmp_path, *names, ".hidden.md", "a/.git/x.md", "state/s.md", "b/photo.jpeg")
    assert [item.source for item in items(tmp_path, ".", home="state")] == names == sorted(names)


def test_an_item_tells_all_that_is_needed_without_reading(tmp_path: Path):
    write(tmp_path, "docs/a.md")
    os.utime(tmp_path / "docs" / "a.md", (1_000_000, 1_000_000))
    (item,) = items(tmp_path, "docs")
    status = (tmp_path / "docs" / "a.md").stat()
    assert (item.source, item.location, item.size) == ("docs/a.md", str(tmp_path / "docs" / "a.md"), status.st_size)
    assert item.version == f"{status.st_size}:{status.st_mtime_ns}"
    assert item.read() == b"text of docs/a.md"


def test_a_file_that_was_just_written_has_no_version_because_the_next_write_may_not_show(tmp_path: Path):
    write(tmp_path, "docs/a.md")
    (item,) = items(tmp_path, "docs")
    assert item.version == ""


def test_each_file_comes_once_by_its_first_name(tmp_path: Path):
    write(tmp_path, "docs/b.md", "docs/c.md")
    os.symlink(tmp_path / "docs" / "b.md", tmp_path / "docs" / "a.md")
    uri = (tmp_path / "docs" / "c.md").as_uri()
    found = list(items(tmp_path, "docs", tmp_path / "docs" / "b.md", "./docs/../docs/c.md", uri))
    assert [item.source for item in found] == ["docs/a.md", "docs/c.md"]
    assert found[0].location == str(tmp_path / "docs" / "b.md")


def test_links_out_of_the_folder_and_circles_and_pipes_are_passed_over(tmp_path: Path):
    write(tmp_path, "secret.md", "docs/a.md", "state/s.md")
    docs = tmp_path / "docs"
    os.symlink(tmp_path / "secret.md", docs / "out.md")
    os.symlink(docs, docs / "circle")
    os.symlink(docs / "self.md", docs / "self.md")
    os.symlink("/", docs / "root")
    os.symlink(tmp_path / "nowhere", docs / "broken.md")
    os.symlink(tmp_path / "state" / "s.md", tmp_path / "state.md")
    os.mkfifo(docs / "pipe.md")
    assert [item.source for item in items(tmp_path, "docs")] == ["docs/a.md"]
    assert "state.md" not in [item.source for item in items(tmp_path, ".", home="state")]


def test_a_folder_reached_through_a_link_keeps_the_name_it_was_called_by(tmp_path: Path):
    write(tmp_path, "real/a.md")
    os.symlink(tmp_path / "real", tmp_path / "alias")
    (item,) = items(tmp_path, "alias")
    assert (item.source, item.location) == ("alias/a.md", str(tmp_path / "real" / "a.md"))


def vanish(file: Path) -> None:
    file.unlink()


def become_a_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("/etc/passwd")


def become_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def become_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def grow(file: Path) -> None:
    file.write_bytes(bytes(2000))


@pytest.mark.parametrize("happens", [vanish, become_a_link, become_a_folder, become_a_pipe, grow])
def test_what_happens_to_a_file_after_it_was_listed_is_its_own_error(tmp_path: Path, happens):
    write(tmp_path, "docs/a.md", "docs/b.md")
    first, second = items(tmp_path, "docs")
    happens(tmp_path / "docs" / "a.md")
    with pytest.raises(UnreadableDocument) as caught:
        first.read()
    assert caught.value.where == "docs/a.md"
    assert second.read() == b"text of docs/b.md"


def test_a_file_of_just_the_limit_is_read_and_one_byte_more_is_not(tmp_path: Path):
    (tmp_path / "fits.md").write_bytes(b"x" * 1000)
    (tmp_path / "long.md").write_bytes(b"x" * 1001)
    fits, long = items(tmp_path, ".")
    assert len(fits.read()) == 1000
    with pytest.raises(UnreadableDocument, match="more than"):
        long.read()


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="needs files whose size is said to be 0")
def test_a_file_that_tells_no_size_is_read_only_to_the_limit():
    (item,) = list_sources(
        ["/proc/cpuinfo"],
        home=Path("/nowhere"),
        cwd=Path("/"),
        settings=SourcesSettings(),
        max_bytes=64,
    )
    assert item.size == 0
    with pytest.raises(UnreadableDocument, match="more than"):
        item.read()


def test_a_folder_that_vanishes_while_the_listing_goes_on_is_passed_over(tmp_path: Path):
    write(tmp_path, "docs/a.md", "docs/b/c.md", "docs/d.md")
    listing = items(tmp_path, "docs")
    assert next(listing).source == "docs/a.md"
    (tmp_path / "docs" / "b" / "c.md").unlink()
    (tmp_path / "docs" / "b").rmdir()
    assert [item.source for item in listing] == ["docs/d.md"]


@pytest.fixture
def not_root() -> Iterator[Path]:
    """A folder of somebody whom rights bind, even where the tests are run by root."""
    me, nobody = os.geteuid(), 65_534
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        os.seteuid(nobody if me == 0 else me)
        try:
            yield Path(folder)
        finally:
            os.seteuid(me)


def test_a_folder_that_is_not_ours_to_read_is_an_item_that_says_so(not_root: Path):
    write(not_root, "docs/a.md", "docs/b/c.md")
    (not_root / "docs" / "b").chmod(0)
    _, closed = items(not_root, "docs")
    with pytest.raises(UnreadableDocument, match="can't be looked into"):
        closed.read()
    (not_root / "docs" / "b").chmod(stat.S_IRWXU)


def test_a_folder_that_turns_into_something_else_is_an_item_that_says_so(tmp_path: Path):
    write(tmp_path, "docs/a.md", "docs/b/c.md", "docs/d.md")
    listing = items(tmp_path, "docs")
    next(listing)
    (tmp_path / "docs" / "b" / "c.md").unlink()
    (tmp_path / "docs" / "b").rmdir()
    (tmp_path / "docs" / "b").write_text("a file now")
    changed, rest = listing
    with pytest.raises(UnreadableDocument, match="can't be looked into"):
        changed.read()
    assert (changed.source, rest.source) == ("docs/b", "docs/d.md")


def test_a_name_that_is_not_utf8_is_listed_and_read(tmp_path: Path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad-\xff.md")).write_text("text")
    (item,) = items(tmp_path, ".")
    assert item.read() == b"text"


@pytest.mark.parametrize("named", ["gone", "file:///gone/for/good", "urls:gone.txt", "https://", "nosuch://x/y"])
def test_a_place_that_is_not_there_is_told_at_once(tmp_path: Path, named: str):
    write(tmp_path, "a.md")
    with pytest.raises(UsageError):
        items(tmp_path, "a.md", named)


def test_an_empty_folder_is_told_when_its_turn_comes(tmp_path: Path):
    write(tmp_path, "docs/a.md")
    (tmp_path / "hollow").mkdir()
    listing = items(tmp_path, "docs", "hollow")
    assert next(listing).source == "docs/a.md"
    with pytest.raises(UsageError, match="hollow"):
        next(listing)
