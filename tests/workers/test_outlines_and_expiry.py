"""Workers bring in outlines with summaries, each paid for once, and leave out what retention took out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragsaver.errors import TooExpensive
from ragsaver.ingestion import planner
from ragsaver.ingestion.applying import Step
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.retention import DAY_S
from ragsaver.settings import DatabaseSettings
from tests.ingestion.bench import SCOPE, Stopped
from tests.openai_server import Script, openai_server
from tests.workers.fleet import RedisServer
from tests.workers.test_stages import Line

SAID = "Owls hunt voles."
LONG = "# Owls\n\n" + "Owls hunt voles at night, and the voles know it. " * 6


@pytest.fixture
def script() -> Script:
    return Script(reply=SAID)


@pytest.fixture
def line(tmp_path: Path, redis: RedisServer, database: DatabaseSettings, script: Script) -> Iterator[Line]:
    with openai_server(script) as url:
        settings = {
            "outline": {"summary_model": "tiny", "summary_min_words": 20, "summary_attempts": 1},
            "generation": {"models": [{"name": "tiny", "base_url": url}]},
            "lifecycle": {"retention": {"docs": {"max_age_days": 30}}},
            "spend": {"prices": {"tiny": {"input_per_mtok": 1, "cached_input_per_mtok": "0.5", "output_per_mtok": 10}}},
        }
        made = Line(tmp_path, redis, database, settings)
        yield made
        made.close()


def whole_way(line: Line, ids: list[str]) -> list[str]:
    line.convert(ids)
    line.embed(ids)
    line.drain()
    return line.states(ids)


def put_files(line: Line, **more: object) -> list[str]:
    order = IngestOrder(paths=(str(line.bench.docs),), cwd=line.bench.folder, **more)
    report = line.queue.put(order, SCOPE)
    return [f"{report.job_id}-{n}" for n in range(report.documents.seen)]


def sentence(line: Line, source: str = "0.md") -> str:
    found = line.bench.manifest.outline(SCOPE, source)
    assert found is not None
    return found.lines[0].sentence


def test_the_owner_summarises_what_workers_bring_and_never_twice(line: Line, script: Script):
    assert whole_way(line, line.put(LONG)) == [State.APPLIED]
    assert (sentence(line), len(script.requests)) == (SAID, 1)
    assert whole_way(line, line.put(LONG, LONG)) == [State.UNCHANGED, State.APPLIED]
    assert (sentence(line, "1.md"), len(script.requests)) == (SAID, 1)


def test_a_stop_after_the_answer_costs_no_further_call(line: Line, script: Script):
    ids = line.put(LONG)
    line.convert(ids)
    line.embed(ids)

    def stop(step: Step) -> None:
        if step is Step.OUTLINED:
            raise Stopped

    with pytest.raises(Stopped):
        line.drain(stop)
    line.drain()
    assert (line.states(ids), sentence(line), len(script.requests)) == ([State.APPLIED], SAID, 1)


def test_a_section_without_an_answer_fails_no_document_and_the_next_job_asks_again(line: Line, script: Script):
    script.statuses = [500]
    assert whole_way(line, line.put(LONG)) == [State.APPLIED]
    assert sentence(line).startswith("Owls hunt voles at night")
    embedded = len(line.bench.encoder.paid)
    assert whole_way(line, line.put(LONG)) == [State.APPLIED]
    assert (sentence(line), len(script.requests), len(line.bench.encoder.paid)) == (SAID, 2, embedded)


def expired(line: Line) -> None:
    """What is in grows old, and retention takes it out."""
    (record,) = line.bench.manifest.documents(SCOPE).values()
    line.bench.manifest.commit(SCOPE, [record._replace(ingested_at=record.ingested_at - 100 * DAY_S)])
    assert len(line.runtime.ingestor.expire(SCOPE)) == 1


def test_a_limit_on_the_cost_counts_summaries_and_a_refused_job_lets_nothing_in(
    line: Line, script: Script, monkeypatch
):
    monkeypatch.setattr(planner, "load_encoder", lambda settings: line.bench.encoder)
    file = line.bench.docs / "a.md"
    file.write_text(LONG)
    with pytest.raises(TooExpensive, match="summarising 1 sections"):
        put_files(line, max_cost_usd=0)
    assert whole_way(line, put_files(line, max_cost_usd=1)) == [State.APPLIED]
    expired(line)
    other = line.bench.docs / "b.md"
    other.write_text(LONG.replace("voles", "mice"))
    with pytest.raises(TooExpensive):
        put_files(line, max_cost_usd=0, include_expired=True)
    other.unlink()
    assert len(line.bench.manifest.tombstones.of(SCOPE)) == len(script.requests) == 1
    assert whole_way(line, put_files(line, max_cost_usd=0)) == [State.UNCHANGED]
    assert whole_way(line, put_files(line, max_cost_usd=0, include_expired=True)) == [State.APPLIED]


def test_workers_leave_out_what_retention_took_out_until_it_changes_or_is_asked_for(line: Line):
    file = line.bench.docs / "a.md"
    file.write_text("# A\n\nthe zebra")

    assert whole_way(line, put_files(line)) == [State.APPLIED]
    expired(line)
    ids = put_files(line)
    assert whole_way(line, ids) == [State.UNCHANGED]
    assert "--include-expired" in line.report(ids[0]).progress[0].error
    assert whole_way(line, put_files(line, include_expired=True)) == [State.APPLIED]
    expired(line)
    file.write_text("# A\n\nthe new zebra")
    assert whole_way(line, put_files(line)) == [State.APPLIED]
    assert line.bench.manifest.tombstones.of(SCOPE) == {}


def test_what_expires_while_it_is_on_its_way_stays_out(line: Line):
    (line.bench.docs / "a.md").write_text("# A\n\nthe zebra")
    assert whole_way(line, put_files(line)) == [State.APPLIED]
    (record,) = line.bench.manifest.documents(SCOPE).values()
    line.bench.manifest.commit(SCOPE, [record._replace(config="other", ingested_at=record.ingested_at - 100 * DAY_S)])
    ids = put_files(line)
    line.convert(ids)
    line.runtime.ingestor.expire(SCOPE)
    line.embed(ids)
    line.drain()
    assert line.states(ids) == [State.UNCHANGED]
    assert line.bench.manifest.documents(SCOPE) == {}
