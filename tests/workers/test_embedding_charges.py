"""What workers embed is in the ledger as their jobs' bills have it, whatever ended them in between."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from ragsaver.errors import StorageError
from ragsaver.ingestion import charging
from ragsaver.ingestion.job_report import JobReport, State
from ragsaver.settings import DatabaseSettings
from ragsaver.workers.stages import Step
from tests.ingestion.bench import Stopped
from tests.ingestion.test_charging import PRICE, charged, micro, usage
from tests.redis_server import RedisServer
from tests.workers.fleet import SCOPE, Project
from tests.workers.test_stages import TEXT, Line

BEES = "Bees dance to tell the others where the flowers are."


@pytest.fixture
def line(tmp_path: Path, redis: RedisServer, database: DatabaseSettings) -> Iterator[Line]:
    """Where a hold is over as soon as it is had: every document is as one whose worker died long ago."""
    dear = {"spend": {"embedding_per_mtok": str(PRICE)}}
    made = Line(tmp_path, redis, database, dear, visibility_timeout_s=1e-6)
    yield made
    made.close()


def agrees(line: Line, report: JobReport) -> None:
    """All that was paid for is charged, and the job's report has the same."""
    made = charged(line.settings)
    assert sum(one.fresh for one in made) == line.paid_tokens() == report.embedding.tokens
    assert sum(one.cost for one in made) == report.embedding.cost_usd * 1_000_000 > 0
    assert {one.request_id.rpartition("-")[0] for one in made} == {report.job_id}


def until_in(line: Line, ids: list[str]) -> None:
    for _ in range(20):
        if set(line.states(ids)) <= {State.APPLIED, State.UNCHANGED}:
            return
        line.requeue()
        line.convert(ids)
        line.embed(ids)
        line.drain()
    raise AssertionError(line.report(ids[0]))


def test_a_job_s_bill_is_in_the_ledger_by_its_documents_and_once_if_it_is_done_again(line: Line):
    ids = line.put(TEXT, f"{TEXT}\n\n{BEES}")
    until_in(line, ids)
    agrees(line, line.report(ids[0]))
    before = charged(line.settings)
    until_in(line, line.put(TEXT))
    assert charged(line.settings) == before
    (told,) = usage(line.settings).lines
    assert (told.name, told.cost_usd) == ("ingest", line.report(ids[0]).embedding.cost_usd)


@pytest.mark.parametrize("step", [Step.EMBEDDING, Step.CACHED, Step.EMBEDDED])
def test_a_worker_that_is_stopped_has_charged_what_it_embedded_once(line: Line, step: Step):
    ids = line.put(TEXT, BEES)
    line.convert(ids)

    def stop(now: Step, source: str) -> None:
        if now is step:
            raise Stopped

    with pytest.raises(Stopped):
        line.embed(ids, line.worker(stop))
    until_in(line, ids)
    agrees(line, line.report(ids[0]))
    assert set(line.paid().values()) == {1}


def test_who_dies_between_the_bill_and_the_ledger_is_charged_for_by_who_goes_on(line: Line, monkeypatch):
    ids = line.put(TEXT, BEES)
    line.convert(ids)
    worker = line.worker()
    with monkeypatch.context() as patched:
        patched.setattr(worker, "charge", lambda ids: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            line.embed(ids, worker)
    assert line.paid_tokens() > 0 and charged(line.settings) == []
    until_in(line, ids)
    agrees(line, line.report(ids[0]))
    assert set(line.paid().values()) == {1}


def test_while_the_ledger_can_t_be_written_documents_wait_and_nothing_is_embedded_twice(line: Line, monkeypatch):
    ids = line.put(TEXT, BEES)
    line.convert(ids)
    with monkeypatch.context() as patched:
        patched.setattr(charging, "open_ledger", lambda settings: (_ for _ in ()).throw(StorageError("full")))
        line.embed(ids)
        assert set(line.states(ids)) == {State.CONVERTED}
    until_in(line, ids)
    agrees(line, line.report(ids[0]))
    assert set(line.paid().values()) == {1}


def test_what_the_cache_lost_is_charged_by_who_brings_it_in(line: Line):
    ids = line.put(TEXT, BEES)
    line.convert(ids)
    line.embed(ids)
    line.lose_vectors()
    line.drain()
    assert line.states(ids) == [State.APPLIED] * 2
    agrees(line, line.report(ids[0]))
    assert set(line.paid().values()) == {2}


def test_a_fleet_that_is_killed_and_a_server_charge_what_their_reports_say(project: Project):
    project.kept["RAGSAVER_SPEND__EMBEDDING_PER_MTOK"] = str(PRICE)
    deaths = ["embedding:docs/0.md", "cached:docs/1.md", "embedded:docs/2.md", "committed:"]
    die = {"RAGSAVER_TEST_DIE": ",".join(deaths)}
    for n in range(4):
        project.write(f"{n}.md", f"animal{n}")
    with (
        project.running("worker", "--queues", "embed", "--concurrency", "1", reborn=True, **die),
        project.running("worker", "--queues", "convert", "--apply", reborn=True, **die),
        project.queue() as queue,
    ):
        first = project.finished(queue.put(project.order(), SCOPE).job_id)
        project.write("1.md", "animal1", sections=4)
        second = project.finished(queue.put(project.order(), SCOPE).job_id)
    spent = [first.embedding.cost_usd, second.embedding.cost_usd]
    assert (first.state, second.state) == ("done", "done")
    assert set(project.paid().values()) == {1}

    with project.running("serve", "--port", "0", REDIS_URL="") as server:
        url = server.said[-1].split()[-1]
        posted = {"documents": [{"source": "posted.md", "text": f"# Owls\n\n{TEXT}"}]}
        answer = httpx.post(f"{url}/v1/documents", json=posted, timeout=60)
        told = httpx.get(f"{url}/v1/usage", params={"by": "task"}).json()
    assert answer.status_code == 200, answer.text
    spent.append(Decimal(str(answer.json()["receipt"]["cost_usd"])))
    project.write("0.md", "animal0", sections=3)
    spent.append(Decimal(str(project.run("ingest", "docs")["receipt"]["cost_usd"])))
    assert all(spent)
    assert micro(project.settings()) == sum(spent) * 1_000_000
    assert [line["name"] for line in told["lines"]] == ["ingest"]
