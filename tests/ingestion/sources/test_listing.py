"""Which files are taken, under which names, and what a person is told about the rest."""

import os
from pathlib import Path

import pytest

from ragsaver.errors import UsageError
from ragsaver.ingestion.sources import list_sources
from ragsaver.settings import SourcesSettings


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("docs/b.md", "docs/a.txt", "docs/deep/c.html", "docs/.hidden.md", "docs/.git/d.md", "docs/x.bin"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("text")
    return tmp_path


def names(tree: Path, *paths: str, home: str = ".ragsaver") -> list[str]:
    return [item.source for item in listed([Path(path) for path in paths], tree / home, tree)]


def listed(paths: list[Path], home: Path, cwd: Path):
    return list(list_sources(paths, home=home, cwd=cwd, settings=SourcesSettings(), max_bytes=2**20))


def test_readable_files_are_found_in_order_and_hidden_ones_passed_over(tree: Path):
    assert names(tree, "docs") == ["docs/a.txt", "docs/b.md", "docs/deep/c.html"]


def test_a_file_that_is_named_twice_is_taken_once(tree: Path):
    assert names(tree, "docs", "docs/b.md", "./docs/../docs/b.md") == ["docs/a.txt", "docs/b.md", "docs/deep/c.html"]


def test_a_file_that_is_named_itself_is_taken_whatever_it_is(tree: Path):
    assert names(tree, "docs/x.bin") == ["docs/x.bin"]


def test_the_state_is_never_ingested(tree: Path):
    (tree / "docs" / "state").mkdir()
    (tree / "docs" / "state" / "e.md").write_text("text")
    assert "docs/state/e.md" not in names(tree, "docs", home="docs/state")


def test_a_file_outside_of_the_working_directory_has_its_absolute_name(tree: Path):
    (inside,) = listed([tree / "docs" / "b.md"], tree / "home", tree / "docs" / "deep")
    assert inside.source == str(tree / "docs" / "b.md")


def test_links_that_lead_out_or_nowhere_or_in_a_circle_are_passed_over(tree: Path):
    (tree / "secret.md").write_text("secret")
    os.symlink(tree / "secret.md", tree / "docs" / "out.md")
    os.symlink(tree / "nowhere.md", tree / "docs" / "broken.md")
    os.symlink(tree / "docs", tree / "docs" / "circle")
    os.symlink(tree / "docs" / "b.md", tree / "docs" / "z-inside.md")
    assert names(tree, "docs") == ["docs/a.txt", "docs/b.md", "docs/deep/c.html"]


@pytest.mark.parametrize(("path", "said"), [("gone", "no such file or folder"), ("hollow", "no document that can be")])
def test_a_path_without_documents_is_named(tree: Path, path: str, said: str):
    (tree / "hollow").mkdir()
    with pytest.raises(UsageError, match=said) as caught:
        names(tree, path)
    assert path in str(caught.value)
