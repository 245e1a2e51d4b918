"""The embedding cache has lost what the index has: workers pay for nothing again, though only its owner has the index."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from ragsaver.ingestion import planner
from ragsaver.ingestion.job_report import State
from ragsaver.settings import DatabaseSettings
from tests.ingestion.bench import SCOPE
from tests.redis_server import RedisServer
from tests.workers.test_stages import Line

OWLS = "# Owls\n\nOwls hunt voles at night, and the voles know it."
BEES = "# Bees\n\nBees dance to tell the others where flowers are."


@pytest.fixture
def line(tmp_path: Path, redis: RedisServer, database: DatabaseSettings) -> Iterator[Line]:
    """Two files are in, and the cache has nothing of them."""
    made = Line(tmp_path, redis, database)
    (made.bench.docs / "owls.md").write_text(OWLS)
    (made.bench.docs / "bees.md").write_text(BEES)
    made.bench.ingest()
    lose_the_cache(made)
    made.bench.encoder.paid.clear()
    yield made
    made.close()


def lose_the_cache(line: Line) -> None:
    with closing(sqlite3.connect(line.bench.cache.path)) as connection, connection:
        connection.execute("DELETE FROM embeddings")


def put(line: Line, **more: object) -> list[str]:
    report = line.queue.put(line.bench.order(**more), SCOPE)
    return [f"{report.job_id}-{n}" for n in range(report.documents.seen)]


def through(line: Line, ids: list[str]) -> None:
    line.convert(ids)
    line.embed(ids)
    line.drain()
    assert set(line.states(ids)) <= {State.APPLIED, State.UNCHANGED}


def is_whole(line: Line) -> None:
    report = line.bench.verify(vectors=True)
    assert (report.missing, report.orphaned, report.altered) == (0, 0, 0)


def test_a_renamed_document_takes_its_vectors_from_the_index(line: Line):
    (line.bench.docs / "owls.md").rename(line.bench.docs / "night.md")
    through(line, put(line))
    assert not line.bench.encoder.paid
    assert {"docs/night.md", "docs/owls.md"} <= set(line.bench.manifest.documents(SCOPE))
    is_whole(line)


@pytest.mark.parametrize("forgotten_first", [True, False])
def test_so_does_one_whose_old_name_is_pruned_in_the_same_job(line: Line, forgotten_first: bool):
    (line.bench.docs / "owls.md").rename(line.bench.docs / "night.md")
    ids = put(line, prune=True)
    if forgotten_first:
        line.drain()
        assert set(line.bench.manifest.documents(SCOPE)) == {"docs/bees.md"}
    through(line, ids)
    assert not line.bench.encoder.paid
    assert set(line.bench.manifest.documents(SCOPE)) == {"docs/bees.md", "docs/night.md"}
    is_whole(line)


def test_of_a_renamed_document_with_a_new_paragraph_elsewhere_only_what_is_new_is_embedded(line: Line):
    (line.bench.docs / "owls.md").rename(line.bench.docs / "night.md")
    (line.bench.docs / "bees.md").write_text(f"{BEES}\n\n# Wasps\n\nWasps build nests of paper.")
    through(line, put(line))
    assert len(line.bench.encoder.paid) == 1 and "Wasps build" in line.bench.encoder.paid[0]
    is_whole(line)


def test_a_plan_of_the_queue_knows_it_too(line: Line, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(planner, "load_encoder", lambda settings: line.bench.encoder)
    spend = line.settings.spend.model_copy(update={"embedding_per_mtok": Decimal(1_000_000)})
    line.queue._settings = line.settings.model_copy(update={"spend": spend})
    (line.bench.docs / "owls.md").rename(line.bench.docs / "night.md")
    assert put(line, max_cost_usd=Decimal("0.01"))


def test_what_the_index_has_lost_as_well_is_embedded_by_its_owner(line: Line):
    (line.bench.docs / "owls.md").rename(line.bench.docs / "night.md")
    ids = put(line)
    line.convert(ids)
    record = line.bench.manifest.document(SCOPE, "docs/owls.md")
    line.bench.index.list_and_delete(SCOPE, [], record.points)
    line.drain()
    assert line.states(ids)[-1] == State.APPLIED
    assert len(line.bench.encoder.paid) == 1
