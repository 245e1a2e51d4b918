"""Documents that are gone, told to the queue while others write."""

from contextlib import closing
from pathlib import Path

import pytest

from ragsaver.ingestion.lifecycle import Lifecycle
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.settings import DatabaseSettings
from ragsaver.workers import queueing
from tests.ingestion.bench import SCOPE
from tests.ingestion.sources.site import serving
from tests.ingestion.sources.test_sitemap import pages
from tests.workers.fleet import RedisServer
from tests.workers.test_stages import Line


def test_a_file_that_came_in_after_the_list_was_made_is_not_taken_for_gone(
    tmp_path: Path, redis: RedisServer, database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
):
    line = Line(tmp_path, redis, database)
    bench = line.bench
    (bench.docs / "old.md").write_text("owls")
    (bench.docs / "stays.md").write_text("voles")
    bench.ingest()
    (bench.docs / "old.md").unlink()
    items_of = queueing.items_of

    def meanwhile(*asked):
        yield from items_of(*asked)
        (bench.docs / "new.md").write_text("hawks")
        bench.ingest()

    monkeypatch.setattr(queueing, "items_of", meanwhile)
    job = line.queue.put(bench.order(prune=True), SCOPE)
    sources = [one.source for one in line.queue.report(job.job_id, SCOPE.tenant).progress]
    assert sorted(sources) == ["docs/old.md", "docs/stays.md"]
    line.close()


def test_a_file_that_is_removed_before_it_is_queued_is_no_failure(
    tmp_path: Path, redis: RedisServer, database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
):
    with closing(Line(tmp_path, redis, database)) as line:
        bench = line.bench
        (bench.docs / "goes.md").write_text("owls")
        (bench.docs / "stays.md").write_text("voles")
        items_of = queueing.items_of

        def meanwhile(*asked):
            items = list(items_of(*asked))
            (bench.docs / "goes.md").unlink()
            yield from items

        monkeypatch.setattr(queueing, "items_of", meanwhile)
        job = line.queue.put(bench.order(), SCOPE)
        report = line.queue.report(job.job_id, SCOPE.tenant)
        assert [one.source for one in report.progress] == ["docs/stays.md"] and report.errors == ()


def test_a_file_that_comes_back_before_its_turn_is_not_forgotten(
    tmp_path: Path, redis: RedisServer, database: DatabaseSettings
):
    with closing(Line(tmp_path, redis, database)) as line:
        bench = line.bench
        for name in ("back.md", "gone.md", "stays.md"):
            (bench.docs / name).write_text(f"owls of {name}")
        bench.ingest()
        for name in ("back.md", "gone.md"):
            (bench.docs / name).unlink()
        job = line.queue.put(bench.order(prune=True), SCOPE)
        (bench.docs / "back.md").write_text("owls of back.md")
        line.drain()
        assert set(bench.manifest.documents(SCOPE)) == {"docs/back.md", "docs/stays.md"}
        told = {one.source: one.error for one in line.queue.report(job.job_id, SCOPE.tenant).progress}
        assert told["docs/back.md"] == "was gone, and is there again" and not told["docs/gone.md"]


def test_a_file_that_comes_back_while_the_list_is_made_is_not_queued_to_go(
    tmp_path: Path, redis: RedisServer, database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
):
    with closing(Line(tmp_path, redis, database)) as line:
        bench = line.bench
        for name in ("back.md", "out.md", "stays.md"):
            (bench.docs / name).write_text(f"owls of {name}")
        bench.ingest()
        (bench.docs / "back.md").unlink()
        items_of = queueing.items_of

        def meanwhile(*asked):
            yield from items_of(*asked)
            (bench.docs / "back.md").write_text("owls of back.md")

        monkeypatch.setattr(queueing, "items_of", meanwhile)
        (bench.docs / ".ragsaverignore").write_text("out.md\n")  # it is there, and meant to go
        line.queue.put(bench.order(prune=True), SCOPE)
        line.drain()
        assert set(bench.manifest.documents(SCOPE)) == {"docs/back.md", "docs/stays.md"}


@pytest.mark.parametrize("source", ["docs/old.md", "other"])
def test_a_document_that_was_deleted_and_posted_again_meanwhile_stays(
    tmp_path: Path, redis: RedisServer, database: DatabaseSettings, source: str
):
    with closing(Line(tmp_path, redis, database)) as line:
        bench = line.bench
        (bench.docs / "old.md").write_text("owls")
        (bench.docs / "stays.md").write_text("voles")
        bench.ingest()
        (bench.docs / "old.md").unlink()
        line.queue.put(bench.order(prune=True), SCOPE)
        record = bench.manifest.document(SCOPE, "docs/old.md")
        lifecycle = Lifecycle(line.settings, bench.manifest, bench.ingestor(), bench.encoder.dim)
        assert lifecycle.delete_one(record.id, SCOPE)
        bench.ingestor().ingest_texts([PostedDocument(source, "owls")], SCOPE)
        line.drain()
        assert set(bench.manifest.documents(SCOPE)) == {source, "docs/stays.md"}
        assert bench.found("owls") == {"owls"}


def test_a_page_that_its_sitemap_names_no_more_goes(tmp_path: Path, redis: RedisServer, database: DatabaseSettings):
    sources = {"sources": {"allow_private_addresses": True}}
    with closing(Line(tmp_path, redis, database, sources)) as line, serving() as site:
        a, b = (site.page(f"/{name}", f"<p>The page {name} speaks of zebras.</p>") for name in "ab")
        listed = "sitemap:" + site.page("/s.xml", pages(a, b))
        line.queue.put(IngestOrder(paths=(listed,), cwd=tmp_path), SCOPE)
        line.convert([a, b])
        line.embed([a, b])
        line.drain()
        assert set(line.bench.manifest.documents(SCOPE)) == {a, b}
        site.page("/s.xml", pages(a))
        line.queue.put(IngestOrder(paths=(listed,), cwd=tmp_path, prune=True), SCOPE)
        line.convert([a])
        line.drain()
        assert set(line.bench.manifest.documents(SCOPE)) == {a}
        assert len(line.bench.manifest.named_by.of(SCOPE)) == 1
