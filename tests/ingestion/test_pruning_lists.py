"""What a sitemap or a list of pages does not name any more goes, where all of the list was read; emptied stores too."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from ragsaver.errors import UsageError
from ragsaver.index.scope import Scope
from ragsaver.index.store import current_store
from ragsaver.ingestion.opening import open_manifest
from ragsaver.ingestion.order import IngestOrder
from tests.ingestion.bench import SCOPE, Bench
from tests.ingestion.sources.site import Site, serving
from tests.ingestion.sources.test_sitemap import index, pages
from tests.ingestion.test_migration import migration

ALLOWED = {"allow_private_addresses": True}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, sources=ALLOWED)
    yield made
    made.close()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as served:
        for name in "abc":
            served.page(f"/{name}", f"<p>The page {name} speaks of zebras.</p>", ETag=f'"{name}"')
        yield served


def names(site: Site, sitemap: str, *paths: str) -> str:
    """Let a sitemap name these pages; how it is ingested."""
    return "sitemap:" + site.page(sitemap, pages(*(site.address + path for path in paths)), "application/xml")


def order(bench: Bench, *paths: str, prune: bool = True, **more) -> IngestOrder:
    return IngestOrder(paths=paths, cwd=bench.folder, prune=prune, **more)


def ingest(bench: Bench, *paths: str, prune: bool = True, **more):
    return bench.ingestor().ingest(order(bench, *paths, prune=prune, **more), SCOPE)


def known(bench: Bench) -> set[str]:
    """The last parts of the names of the documents that are in."""
    return {source.rpartition("/")[2] for source in bench.manifest.documents(SCOPE)}


def test_a_page_that_its_sitemap_names_no_more_goes_with_all_that_was_kept_of_it(bench: Bench, site: Site):
    listed = names(site, "/s.xml", "/a", "/b")
    ingest(bench, listed, prune=False)
    names(site, "/s.xml", "/a")
    assert ingest(bench, listed, prune=False).documents.deleted == 0
    assert bench.ingestor().plan(order(bench, listed), SCOPE).documents.deleted == 1
    assert ingest(bench, listed).documents.deleted == 1
    assert known(bench) == {"a"} and len(bench.listed()) == 1
    assert len(bench.manifest.named_by.of(SCOPE)) == 1
    assert ingest(bench, listed).documents.deleted == 0


def test_a_list_file_is_asked_likewise_whatever_stands_behind_an_address_and_wherever_it_leads(
    bench: Bench, site: Site
):
    site.redirect("/moved", site.address + "/b")
    file = bench.folder / "pages.urls"
    file.write_text(f"{site.address}/a#part\n{site.address}/moved\n")
    ingest(bench, "urls:pages.urls")
    assert known(bench) == {"a", "moved"}
    file.write_text(f"{site.address}/a#another\n# {site.address}/moved\n")
    assert ingest(bench, f"urls:{file}").documents.deleted == 1
    assert known(bench) == {"a"}
    file.write_text("# none\n")
    with pytest.raises(UsageError, match="holds no address"):
        ingest(bench, "urls:pages.urls")
    assert known(bench) == {"a"}


def test_a_list_that_was_read_to_a_half_takes_nothing_out(bench: Bench, site: Site):
    one, two = (names(site, f"/{name}.xml", f"/{name}").removeprefix("sitemap:") for name in "ab")
    listed = "sitemap:" + site.page("/s.xml", index(one, two))
    ingest(bench, listed)
    names(site, "/a.xml", "/c")
    for broken in ("<urlset", pages()):
        site.page("/b.xml", broken)
        report = ingest(bench, listed)
        assert (report.documents.deleted, len(report.errors)) == (0, 1)
        assert known(bench) == {"a", "b", "c"}
    site.page("/b.xml", "down", status=503)
    assert ingest(bench, listed).documents.deleted == 0
    names(site, "/b.xml", "/b")
    assert ingest(bench, listed).documents.deleted == 1
    assert known(bench) == {"b", "c"}


def test_pages_beyond_the_limit_of_a_sitemap_stay(tmp_path: Path, site: Site):
    with closing(Bench(tmp_path, sources={**ALLOWED, "sitemap_max_pages": 2})) as bench:
        listed = names(site, "/s.xml", "/b", "/c")
        ingest(bench, listed)
        names(site, "/s.xml", "/a", "/b", "/c")
        assert ingest(bench, listed).documents.deleted == 0
        assert known(bench) == {"a", "b", "c"}


def test_a_page_that_does_not_answer_stays_while_it_is_named(bench: Bench, site: Site):
    listed = names(site, "/s.xml", "/a", "/b")
    ingest(bench, listed)
    site.page("/b", "down", status=503)
    assert ingest(bench, listed).documents.deleted == 0
    assert known(bench) == {"a", "b"}


def test_a_page_of_two_lists_stays_while_one_names_it_whichever_drops_it_first(bench: Bench, site: Site):
    one, two = names(site, "/one.xml", "/a", "/b"), names(site, "/two.xml", "/b", "/c")
    ingest(bench, one, two)
    names(site, "/two.xml", "/c")
    for _ in range(2):
        assert ingest(bench, two).documents.deleted == 0
    names(site, "/one.xml", "/a")
    assert ingest(bench, one).documents.deleted == 1
    assert known(bench) == {"a", "c"}


def test_a_page_that_moved_from_one_list_to_another_of_the_same_run_stays(bench: Bench, site: Site):
    one, two = names(site, "/one.xml", "/a", "/b"), names(site, "/two.xml", "/c")
    ingest(bench, one, two)
    names(site, "/one.xml", "/a"), names(site, "/two.xml", "/c", "/b")
    assert ingest(bench, one, two).documents.deleted == 0
    names(site, "/two.xml", "/c")
    assert ingest(bench, one, two).documents.deleted == 1


def test_a_page_that_was_named_by_itself_and_one_without_a_note_stay(bench: Bench, site: Site):
    listed = names(site, "/s.xml", "/a", "/b", "/c")
    ingest(bench, listed, prune=False)
    notes = bench.manifest.named_by
    (place,) = {one for _, one in notes.of(SCOPE)}
    c = bench.manifest.document(SCOPE, site.address + "/c")
    with bench.manifest._writing() as connection:
        connection.exec_driver_sql("DELETE FROM named_by WHERE document_id = ? AND list = ?", (c.id, place))
    ingest(bench, site.address + "/b", prune=False)
    names(site, "/s.xml", "/a")
    assert ingest(bench, listed).documents.deleted == 0
    assert known(bench) == {"a", "b", "c"}


def test_patterns_that_leave_out_every_page_take_nothing_out(bench: Bench, site: Site):
    listed = names(site, "/s.xml", "/a", "/b")
    ingest(bench, listed)
    with pytest.raises(UsageError, match="patterns leave out every page"):
        ingest(bench, listed, include=("/aa",))
    assert ingest(bench, listed, exclude=("/b",)).documents.deleted == 1
    assert known(bench) == {"a"}


def test_other_collections_and_folders_are_not_meant(bench: Bench, site: Site):
    (bench.docs / "file.md").write_text("Owls.")
    bench.ingest()
    listed = names(site, "/s.xml", "/a", "/b")
    ingest(bench, listed)
    other = Scope("acme", "other")
    bench.ingestor().ingest(order(bench, listed), other)
    names(site, "/s.xml", "/a")
    assert ingest(bench, listed).documents.deleted == 1
    assert known(bench) == {"a", "file.md"}
    assert len(bench.manifest.documents(other)) == 2


def test_the_notes_go_along_with_a_migration(tmp_path: Path, site: Site):
    bench = Bench(tmp_path, sources=ALLOWED)  # the switch removes its index
    ingest(bench, names(site, "/s.xml", "/a", "/b"))
    notes = bench.manifest.named_by.of(SCOPE)
    chunking = bench.settings.chunking.model_copy(update={"embed_headings": False})
    with migration(bench, bench.encoder, chunking=chunking) as under_way:
        assert under_way.run().switched
    with closing(open_manifest(bench.settings, current_store(bench.settings.home))) as new:
        assert new.named_by.of(SCOPE) == notes != set()
    bench.manifest.close()
    bench.cache.close()


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_the_last_object_of_a_store_goes(bench: Bench, kind: str):
    place = "memory://shelf/docs" if kind == "memory" else bench.docs.as_uri()
    store, path = fsspec.core.url_to_fs(place)
    for name in "ab":
        store.pipe(f"{path}/{name}.md", f"The object {name} speaks of zebras.".encode())
    ingest(bench, place)
    assert known(bench) == {"a.md", "b.md"}
    for name in "ab":
        store.rm(f"{path}/{name}.md")
    with pytest.raises(UsageError, match="no document"):
        ingest(bench, place, prune=False)
    assert ingest(bench, place).documents.deleted == 2
    assert known(bench) == bench.listed() == set()
    with pytest.raises(UsageError, match="no document"):
        ingest(bench, place)


def test_objects_that_patterns_leave_out_are_not_gone(bench: Bench):
    store = fsspec.filesystem("memory")
    store.pipe("/drawer/a.md", b"Zebras.")
    ingest(bench, "memory://drawer")
    with pytest.raises(UsageError, match="no document"):
        ingest(bench, "memory://drawer", include=("*.mdd",))
    assert known(bench) == {"a.md"}
    store.rm("/drawer", recursive=True)


def test_a_store_that_does_not_answer_is_not_emptied(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **named: object) -> None:
        raise ConnectionResetError("nobody answers")

    fsspec.filesystem("memory").pipe("/cellar/a.md", b"Zebras.")
    ingest(bench, "memory://cellar")
    with monkeypatch.context() as down:
        # The search of most stores passes over what refuses, and finds nothing.
        down.setattr(MemoryFileSystem, "find", AbstractFileSystem.find)
        down.setattr(MemoryFileSystem, "ls", refuse)
        report = ingest(bench, "memory://cellar")
    assert (report.documents.deleted, [one.source for one in report.errors]) == (0, ["memory://cellar"])
    assert "nobody answers" in report.errors[0].error
    assert known(bench) == {"a.md"}
    fsspec.filesystem("memory").rm("/cellar", recursive=True)


def test_what_lies_in_a_folder_of_a_store_that_refuses_stays_and_the_rest_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    store = fsspec.filesystem("memory")
    for name in ("a.md", "shut/b.md", "open/c.md", "open/deep/d.md"):
        store.pipe(f"/attic/{name}", f"The object {name} speaks of zebras.".encode())
    monkeypatch.setattr(MemoryFileSystem, "find", AbstractFileSystem.find)
    look = MemoryFileSystem.ls
    ingest(bench, "memory://attic/")
    assert known(bench) == {"a.md", "b.md", "c.md", "d.md"}

    def refuse(self: MemoryFileSystem, path: str, *more: object, **named: object) -> object:
        if path.endswith("/shut"):
            raise PermissionError("not for you")
        return look(self, path, *more, **named)

    store.rm("/attic/open/c.md")
    with monkeypatch.context() as shut:
        shut.setattr(MemoryFileSystem, "ls", refuse)
        report = ingest(bench, "memory://attic/")
    assert (report.documents.deleted, [one.source for one in report.errors]) == (1, ["memory://attic/shut"])
    assert known(bench) == {"a.md", "b.md", "d.md"}
    store.rm("/attic", recursive=True)
