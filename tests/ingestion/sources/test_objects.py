"""Objects are listed like files, by URIs that read them again, and a store that fails stops no other place."""

import datetime
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from ragsaver.errors import MissingExtra, UnreadableDocument, UsageError
from ragsaver.ingestion.sources import SourceItem, list_sources
from ragsaver.ingestion.sources.objects import version_of
from ragsaver.settings import SourcesSettings


@pytest.fixture
def bucket() -> Iterator[MemoryFileSystem]:
    memory = fsspec.filesystem("memory")
    for name in ("b.md", "a/c.txt", "a.md", "a/.hidden.md", ".git/d.md", "photo.jpeg"):
        memory.pipe(f"/bucket/{name}", f"text of {name}".encode())
    yield memory
    memory.rm("/bucket", recursive=True)


def items(*paths: str, cwd: Path = Path("/nowhere"), **globs) -> list[SourceItem]:
    return list(list_sources(paths, home=cwd / "home", cwd=cwd, settings=SourcesSettings(), max_bytes=100, **globs))


@pytest.mark.parametrize("uri", ["memory://bucket", "memory://bucket/"])
def test_objects_come_by_uris_in_order_without_hidden_and_unknown_ones(bucket: MemoryFileSystem, uri: str):
    found = items(uri)
    assert [item.source for item in found] == [f"memory://bucket/{name}" for name in ("a.md", "a/c.txt", "b.md")]
    assert all(item.location == item.source for item in found)
    assert [(item.size, item.read()) for item in found] == [
        (len(text), text) for text in (b"text of a.md", b"text of a/c.txt", b"text of b.md")
    ]


def test_an_object_can_be_listed_again_by_its_location(bucket: MemoryFileSystem):
    for item in items("memory://bucket"):
        (again,) = items(str(item.location))
        assert (again.source, again.read()) == (item.source, item.read())


def test_an_object_that_is_named_itself_is_taken_whatever_it_is(bucket: MemoryFileSystem):
    assert [item.source for item in items("memory://bucket/photo.jpeg")] == ["memory://bucket/photo.jpeg"]


def test_globs_choose_objects_by_their_names_below_the_root(bucket: MemoryFileSystem):
    assert [item.source for item in items("memory://bucket", exclude=["/a/"], include=["a*"])] == [
        "memory://bucket/a.md"
    ]


def test_an_object_that_vanishes_or_grows_is_its_own_error(bucket: MemoryFileSystem):
    gone, grown, rest = items("memory://bucket")
    bucket.rm("/bucket/a.md")
    bucket.pipe("/bucket/a/c.txt", bytes(101))
    with pytest.raises(UnreadableDocument, match="is not there any more"):
        gone.read()
    with pytest.raises(UnreadableDocument, match="more than"):
        grown.read()
    assert rest.read() == b"text of b.md"


def test_local_files_are_the_same_documents_by_path_and_by_uri(tmp_path: Path):
    (tmp_path / "a b.md").write_text("text")
    (item,) = items("a b.md", tmp_path.as_uri(), f"local://{tmp_path}/a b.md", cwd=tmp_path)
    assert (item.source, item.location, item.read()) == ("a b.md", str(tmp_path / "a b.md"), b"text")


class Broken(MemoryFileSystem):
    """A store whose listing fails, with an error of its package's own."""

    protocol = "broken"

    def find(self, path: str, **_: object) -> dict[str, object]:
        raise RuntimeError("AccessDenied")


def test_a_store_that_cannot_be_listed_is_an_item_that_says_so(bucket: MemoryFileSystem):
    fsspec.register_implementation("broken", Broken, clobber=True)
    broken, *rest = items("broken://bucket", "memory://bucket")
    with pytest.raises(UnreadableDocument, match="AccessDenied"):
        broken.read()
    assert (broken.source, len(rest)) == ("broken://bucket", 3)


def test_a_place_without_documents_is_told(bucket: MemoryFileSystem):
    with pytest.raises(UsageError, match="no document"):
        items("memory://bucket/nowhere")


def test_a_protocol_whose_package_is_missing_names_it_and_how_to_get_it():
    with pytest.raises(MissingExtra, match="oci://.*ocifs.*pip install ocifs"):
        items("oci://bucket/docs")


@pytest.mark.parametrize("uri", ["memory://x::http://127.0.0.1/", "simplecache::memory://bucket", "nosuch://x"])
def test_chains_and_unknown_protocols_are_refused(uri: str):
    with pytest.raises(UsageError):
        items(uri)


def test_a_password_in_a_uri_is_refused_and_not_repeated():
    with pytest.raises(UsageError) as caught:
        items("ftp://me:hunter2@example.com/docs")
    assert "hunter2" not in str(caught.value)


TIME = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("info", "version"),
    [
        ({"ETag": '"abc"', "size": 3, "LastModified": TIME}, '"abc"'),
        ({"etag": "CJ+=", "mtime": TIME, "size": 3}, "CJ+="),
        ({"size": 3, "mtime": 1.5}, "3:1.5"),
        ({"size": 3, "last_modified": TIME}, "3:2024-01-01 00:00:00+00:00"),
        ({"size": 3, "created": TIME}, ""),
        ({"size": 3}, ""),
    ],
)
def test_a_version_is_told_only_by_what_changes_with_the_content(info: dict[str, object], version: str):
    assert version_of(info) == version
