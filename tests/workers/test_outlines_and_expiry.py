"""Workers bring in outlines with summaries, each paid for once, and leave out what retention took out."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from ragsaver.errors import TooExpensive
from ragsaver.ingestion import planner
from ragsaver.ingestion.applying import Step
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.job_tables import bills, passed_over
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.retention import DAY_S
from ragsaver.settings import DatabaseSettings
from tests.ingestion.bench import SCOPE, Stopped
from tests.ingestion.test_charging import charged
from tests.openai_server import Script, openai_server
from tests.redis_server import RedisServer
from tests.workers.fleet import Project
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


def bill(line: Line, document_id: str) -> tuple[int, ...]:
    """Sections made, cached and lacking, calls, tokens, micro-dollars spent and saved."""
    one = line.report(document_id).summaries
    return one.made, one.cached, one.lacking, one.calls, one.tokens, one.cost_usd * 10**6, one.saved_usd * 10**6


# 60 tokens in, 40 of the provider's cache, 20 out; what a cache keeps knows no cached input.
ONE = 60 + 20 + 200
KEPT = 100 + 200


def test_each_job_is_billed_for_the_sections_of_its_documents(line: Line, script: Script):
    ids = line.put(LONG, LONG.replace("voles", "mice"), LONG, "# Short\n\nnothing to summarise")
    other = line.put(LONG.replace("voles", "moles"))
    assert set(whole_way(line, ids + other)) == {State.APPLIED}
    assert bill(line, ids[0]) == (2, 1, 0, 2, 240, 2 * ONE, ONE - 20 + 40)
    assert bill(line, other[0]) == (1, 0, 0, 1, 120, ONE, 0)
    again = line.put(LONG, "# New\n\n" + LONG.partition("\n\n")[2])
    assert whole_way(line, again) == [State.APPLIED, State.APPLIED]
    assert bill(line, again[0]) == (0, 2, 0, 0, 0, 0, 2 * KEPT)
    assert len(script.requests) == 3
    (listed, *_) = line.queue.jobs.reports(SCOPE.tenant, line.settings.spend)
    assert listed.summaries == line.report(again[0]).summaries


@pytest.mark.parametrize("step", [Step.UPSERTED, Step.OUTLINED, Step.COMMITTED, Step.SWAPPED])
def test_a_stop_anywhere_bills_nothing_twice_and_forgets_nothing(line: Line, script: Script, step: Step):
    ids = line.put(LONG, LONG.replace("voles", "mice"), LONG)
    line.convert(ids)
    line.embed(ids)
    clean = (2, 1, 0, 2, 240, 2 * ONE, KEPT)

    def stop(done: Step) -> None:
        if done is step:
            raise Stopped

    for _ in range(3):
        with pytest.raises(Stopped):
            line.drain(stop)
        if step is not Step.UPSERTED:
            break
    line.drain()
    assert (bill(line, ids[0])[:6], len(script.requests)) == (clean[:6], 2)
    assert line.queue.jobs.retry(ids[0].rpartition("-")[0], SCOPE.tenant) == 0
    assert bill(line, ids[0])[:6] == clean[:6]


def test_what_ends_between_answer_and_bill_is_asked_and_billed_again(line: Line, script: Script, monkeypatch):
    ids = line.put(LONG)
    line.convert(ids)
    line.embed(ids)
    put = type(line.runtime.summaries._cache).put

    def full(*_: object) -> None:
        raise Stopped

    monkeypatch.setattr(type(line.runtime.summaries._cache), "put", full)
    with pytest.raises(Stopped):
        line.drain()
    monkeypatch.setattr(type(line.runtime.summaries._cache), "put", put)
    line.drain()
    assert len(script.requests) == 2
    assert bill(line, ids[0]) == (1, 0, 0, 2, 240, 2 * ONE, 0)


def test_a_failed_call_is_counted_and_a_section_that_comes_later_no_longer_lacks(line: Line, script: Script):
    script.statuses = [500]
    ids = line.put(LONG)
    assert whole_way(line, ids) == [State.APPLIED]
    # nobody knows what it took: all that was held
    (one,) = charged(line.settings)
    assert bill(line, ids[0]) == (0, 0, 1, 1, one.fresh + one.output, one.cost, 0)
    assert one.cost > 0


def test_a_job_that_is_gone_leaves_no_bill_and_is_charged_nothing(line: Line, script: Script):
    ids = line.put(LONG)
    line.convert(ids)
    line.embed(ids)
    script.hold = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        draining = thread.submit(line.drain)
        while not script.requests:
            pass
        assert line.queue.jobs.drop(ids[0].rpartition("-")[0], SCOPE.tenant)
        script.hold.set()
        draining.result()
    with line.queue.jobs._reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(bills)) == 0


def test_a_job_says_which_files_it_passed_over(line: Line):
    (line.bench.docs / "a.md").write_text("# A\n\nthe zebra")
    for name in ("b.png", "c.png", "d.exe"):
        (line.bench.docs / name).write_bytes(b"x")
    for more in ({}, {"max_cost_usd": 1}):
        monkey = pytest.MonkeyPatch()
        monkey.setattr(planner, "load_encoder", lambda settings: line.bench.encoder)
        ids = put_files(line, **more)
        monkey.undo()
        assert line.report(ids[0]).passed_over == {".png": 2, ".exe": 1}
        assert line.bench.plan().passed_over == {".png": 2, ".exe": 1}
        assert line.queue.jobs.drop(ids[0].rpartition("-")[0], SCOPE.tenant)
    with line.queue.jobs._reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(passed_over)) == 0


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


def test_a_killed_worker_leaves_a_job_s_bill_as_it_is(project: Project, script: Script):
    for about in ("owls", "voles"):
        project.write(f"{about}.md", about, sections=1)
    (project.folder / "docs" / "photo.png").write_bytes(b"x")
    with openai_server(script) as url:
        asked = {
            "RAGSAVER_OUTLINE__SUMMARY_MODEL": "tiny",
            "RAGSAVER_OUTLINE__SUMMARY_MIN_WORDS": "20",
            "RAGSAVER_GENERATION__MODELS": json.dumps([{"name": "tiny", "base_url": url}]),
            "RAGSAVER_SPEND__PRICES": json.dumps({"tiny": {"input_per_mtok": 1, "output_per_mtok": 10}}),
        }
        with project.running("worker", "--apply", reborn=True, RAGSAVER_TEST_DIE="outlined:", **asked):
            queued = project.run("ingest", "docs", "--queue", **asked)
            project.finished(queued["job_id"])
        shown = project.run("jobs", "show", queued["job_id"], **asked)
    assert queued["passed_over"] == shown["passed_over"] == {".png": 1}
    assert (project.folder / ".marks" / "outlined:").exists()
    took = shown["summaries"]
    assert (took["made"], took["cached"], took["lacking"], took["calls"]) == (2, 0, 0, len(script.requests))
    assert (took["calls"], took["tokens"], took["cost_usd"]) == (2, 240, 0.0006)


def test_the_last_document_of_a_folder_is_pruned_by_workers_too(line: Line):
    file = line.bench.docs / "a.md"
    file.write_text("# A\n\nthe zebra")
    line.bench.ingest()
    file.unlink()
    put_files(line, prune=True)
    line.drain()
    assert not line.bench.manifest.documents(SCOPE)
