"""Documents that are gone, told to the queue while others write."""

from pathlib import Path

import pytest

from ragsaver.settings import DatabaseSettings
from ragsaver.workers import queueing
from tests.ingestion.bench import SCOPE
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
