"""Ignore files mean what git means by them, and globs choose the same way in folders and in stores."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragsaver.errors import UsageError
from ragsaver.ingestion.sources import list_sources
from ragsaver.ingestion.sources.rules import IGNORE_FILE, Selection
from ragsaver.settings import SourcesSettings

NAMES = ["a", "b", "ab", "x.md", "y.md", "a.md"]
FILES = ["a.md", "b.md", "ab.md"]
PIECE = st.sampled_from(["a", "b", "ab", "*", "**", "a*", "*b", "?", "[ab]", "[!a]", "*.md", "a.md", "b.md", "x.md"])
PATTERN = st.builds(
    lambda no, lead, parts, end: no + lead + "/".join(parts) + end,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(PIECE, min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)
FOLDER = st.lists(st.sampled_from(["a", "b", "ab", "x.md"]), max_size=3).map("/".join)
TREE = st.sets(
    st.builds(lambda folder, file: f"{folder}/{file}".lstrip("/"), FOLDER, st.sampled_from(FILES)), min_size=1
)


def listed(root: Path, *paths: str, include: list[str] | None = None, exclude: list[str] | None = None) -> list[str]:
    items = list_sources(
        list(paths) or ["."],
        home=root / ".ragsaver",
        cwd=root,
        include=include or [],
        exclude=exclude or [],
        settings=SourcesSettings(),
        max_bytes=2**20,
    )
    try:
        return [item.source for item in items]
    except UsageError as error:
        if "holds no document" in error.problem:
            return []
        raise


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the oracle")
@settings(max_examples=150, deadline=None)
@given(tree=TREE, rules=st.dictionaries(FOLDER, st.lists(PATTERN, min_size=1, max_size=4), min_size=1, max_size=3))
def test_what_ignore_files_leave_out_is_what_git_would_leave_out(tree: set[str], rules: dict[str, list[str]]):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        subprocess.run(["git", "init", "-q", root], check=True, env={"PATH": "/usr/bin:/bin", "HOME": folder})
        tree = {one for one in tree if not any(other.startswith(one + "/") for other in tree)}
        write(root, dict.fromkeys(tree, "text"))
        for place, patterns in rules.items():
            if (root / place).is_dir():
                (root / place / IGNORE_FILE).write_text("\n".join(patterns) + "\n")
        command = ["git", "ls-files", "-z", "--others", f"--exclude-per-directory={IGNORE_FILE}"]
        told = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
        assert listed(root) == sorted(name for name in told if name.endswith(".md"))


def test_a_named_folder_keeps_to_the_rules_of_the_folders_above_it(tmp_path: Path):
    write(tmp_path, {IGNORE_FILE: "/docs/drafts/\n*.txt\n", "docs/a.md": "", "docs/b.txt": "", "docs/drafts/c.md": ""})
    assert listed(tmp_path, "docs") == ["docs/a.md"]
    assert listed(tmp_path, "docs/drafts") == []


def test_a_file_that_is_named_itself_is_taken_whatever_the_rules_say(tmp_path: Path):
    write(tmp_path, {IGNORE_FILE: "*.md\n", "a.md": "", "b.txt": ""})
    assert listed(tmp_path, "a.md") == ["a.md"]
    assert listed(tmp_path, "a.md", exclude=["*.md"]) == ["a.md"]


def test_rules_that_cannot_be_read_stop_the_listing(tmp_path: Path):
    write(tmp_path, {"docs/a.md": "text"})
    (tmp_path / "docs" / IGNORE_FILE).write_bytes(b"secret-\xff/")
    with pytest.raises(UsageError, match="not UTF-8") as caught:
        listed(tmp_path)
    assert IGNORE_FILE in str(caught.value)


def test_rules_are_not_read_through_a_link(tmp_path: Path):
    write(tmp_path, {"elsewhere": "*.md\n", "docs/a.md": "text"})
    (tmp_path / "docs" / IGNORE_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="can't be read"):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("include", "exclude", "kept"),
    [
        (["*.md"], [], ["a.md", "deep/b.md", "drafts/d.md"]),
        (["deep/"], [], ["deep/b.md", "deep/c.txt"]),
        ([], ["drafts/", "*.txt"], ["a.md", "deep/b.md"]),
        (["*.md", "!b.md"], ["drafts"], ["a.md"]),
        (["/*.md"], [], ["a.md"]),
        ([], ["drafts/", "!drafts/d.md"], ["a.md", "deep/b.md", "deep/c.txt"]),
    ],
)
def test_globs_choose_the_same_in_a_folder_and_in_a_store(
    tmp_path: Path, include: list[str], exclude: list[str], kept: list[str]
):
    names = ["a.md", "deep/b.md", "deep/c.txt", "drafts/d.md"]
    write(tmp_path, dict.fromkeys(names, "text"))
    selection = Selection.of(include, exclude)
    assert listed(tmp_path, include=include, exclude=exclude) == kept
    assert [name for name in names if selection.takes_all_the_way(name)] == kept


@pytest.mark.parametrize("pattern", ["!", "[z-a]"])
def test_a_pattern_that_is_none_is_refused_before_anything_is_listed(tmp_path: Path, pattern: str):
    with pytest.raises(UsageError, match="as in a .gitignore"):
        listed(tmp_path, include=[pattern])
