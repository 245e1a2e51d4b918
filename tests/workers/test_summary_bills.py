"""A job's bill has what the ledger charged for its summaries, also after failures, a stop and a change of prices."""

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from ragsaver.dialects import POSTGRES
from ragsaver.ingestion import asking, job_tables
from ragsaver.ingestion.applying import Step
from ragsaver.ingestion.asking import Tokens
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.jobs import JobStore
from ragsaver.ingestion.report import SummarySpend
from ragsaver.ingestion.summarising import Charge, Summarised
from ragsaver.postgres import _format
from ragsaver.settings import DatabaseSettings, PriceSettings, SpendSettings
from ragsaver.spend.money import MICRO
from tests.ingestion.bench import SCOPE, Stopped
from tests.ingestion.test_charging import charged
from tests.ingestion.test_summary_charges import ONE, PRICES, USAGE
from tests.openai_server import Script, openai_server
from tests.redis_server import RedisServer
from tests.workers.test_outlines_and_expiry import LONG, whole_way
from tests.workers.test_stages import Line

TEXTS = [LONG, LONG.replace("voles", "mice"), LONG.replace("voles", "moles")]


@pytest.fixture
def script() -> Script:
    return Script(reply="Owls hunt.", usage=USAGE)


@pytest.fixture
def line(
    tmp_path: Path, redis: RedisServer, database: DatabaseSettings, script: Script, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Line]:
    monkeypatch.setattr(asking, "_BACKOFF_S", 0.0)
    with openai_server(script) as url:
        settings = {
            "outline": {"summary_model": "tiny", "summary_min_words": 20, "summary_concurrency": 1},
            "generation": {"models": [{"name": "tiny", "base_url": url}]},
            "spend": {"prices": PRICES},
        }
        made = Line(tmp_path, redis, database, settings)
        yield made
        made.close()


def agrees(line: Line, *ids: str) -> None:
    """The bills of jobs have all that was charged."""
    made = [one for one in charged(line.settings) if one.task == "summary"]
    told = [line.report(one).summaries for one in ids]
    assert sum(one.cost for one in made) == sum(one.cost_usd for one in told) * MICRO > 0
    tokens = sum(one.fresh + one.cache_read + one.cache_write + one.output + one.reasoning for one in made)
    assert tokens == sum(one.tokens for one in told)


def test_jobs_bills_have_what_the_ledger_charged_failures_included(line: Line, script: Script):
    script.statuses = [500, 200, 429, 503, 200]
    first = line.put(*TEXTS)
    assert set(whole_way(line, first)) == {State.APPLIED}
    told = line.report(first[0]).summaries
    assert (told.made, told.calls, told.cost_usd * MICRO > 3 * ONE) == (3, 6, True)
    agrees(line, first[0])
    script.cut_after = 1
    second = line.put(LONG.replace("voles", "newts"))
    assert whole_way(line, second) == [State.APPLIED]
    assert line.report(second[0]).summaries.lacking == 1
    agrees(line, first[0], second[0])
    script.cut_after = None
    third = line.put(LONG.replace("voles", "newts"))
    assert whole_way(line, third) == [State.APPLIED]
    assert line.report(third[0]).summaries.cost_usd * MICRO == ONE
    agrees(line, first[0], second[0], third[0])


def test_a_change_of_prices_changes_no_bill_but_what_was_saved(line: Line):
    ids = line.put(*TEXTS, TEXTS[0])
    whole_way(line, ids)
    dear = SpendSettings(prices={"tiny": {"input_per_mtok": 1000, "output_per_mtok": 1000}})
    (told,) = line.queue.jobs.reports(SCOPE.tenant, dear)
    assert told.summaries.cost_usd * MICRO == 3 * ONE
    assert told.summaries.saved_usd > line.report(ids[0]).summaries.saved_usd > 0
    agrees(line, ids[0])


@pytest.mark.parametrize("step", [Step.UPSERTED, Step.OUTLINED, Step.COMMITTED, Step.SWAPPED])
def test_a_stop_anywhere_leaves_bill_and_ledger_alike(line: Line, step: Step):
    ids = line.put(*TEXTS, TEXTS[0])
    line.convert(ids)
    line.embed(ids)

    def stop(done: Step) -> None:
        if done is step:
            raise Stopped

    with pytest.raises(Stopped):
        line.drain(stop)
    line.drain()
    assert line.report(ids[0]).summaries.cost_usd * MICRO == 3 * ONE
    agrees(line, ids[0])


def test_what_ends_before_its_summary_is_kept_is_charged_and_billed_again(
    line: Line, script: Script, monkeypatch: pytest.MonkeyPatch
):
    ids = line.put(LONG)
    line.convert(ids)
    line.embed(ids)
    script.statuses = [500]
    with monkeypatch.context() as patched:
        patched.setattr(type(line.runtime.summaries._cache), "put", lambda *_: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            line.drain()
    once = line.report(ids[0]).summaries.cost_usd * MICRO
    assert once > ONE
    agrees(line, ids[0])
    line.drain()
    assert line.report(ids[0]).summaries.cost_usd * MICRO == once + ONE
    agrees(line, ids[0])


def take_away_costs(store: JobStore) -> None:
    """The store is as format 4 had it."""
    with store._database.writing() as connection:
        connection.execute(sa.DDL("ALTER TABLE %(fullname)s DROP COLUMN cost").against(job_tables.bills))
        if connection.dialect.name == POSTGRES:
            connection.execute(sa.update(_format).values(version=4))
        else:
            connection.execute(sa.text("PRAGMA user_version = 4"))


def test_what_an_earlier_version_billed_counts_at_the_prices_of_now(line: Line):
    ids = line.put(*TEXTS)
    whole_way(line, ids)
    job = ids[0].rpartition("-")[0]
    take_away_costs(line.queue.jobs)

    def told(store: JobStore) -> SummarySpend:
        report = store.report(job, SCOPE.tenant, line.settings.spend)
        assert report is not None
        return report.summaries

    # 47.29 micro-dollars each
    with closing(JobStore(line.queue.jobs.place)) as store:
        assert (told(store).tokens, told(store).cost_usd * MICRO) == (3 * 108, Decimal("141.87"))
        upper = SpendSettings(upper_price=PriceSettings(input_per_mtok=3, output_per_mtok=3))
        (unknown,) = store.reports(SCOPE.tenant, upper)
        assert unknown.summaries.cost_usd * MICRO == 3 * 108 * 3
        took = Summarised(made=1, calls=1, tokens=Tokens(88, 13, 7), cost_usd=Decimal("0.000048"))
        store.bills.add("tiny", [Charge("new", "section", took)], {"new": ids[0]})
        assert told(store).cost_usd * MICRO == Decimal("141.87") + ONE
        # one that was billed before has no charge to add to: its tokens count, as before
        with store._database.reading() as connection:
            old = connection.execute(sa.select(job_tables.bills).where(job_tables.bills.c.cost.is_(None))).first()
        store.bills.add("tiny", [Charge("old", old.section, took)], {"old": old.document_id})
        assert (told(store).calls, told(store).cost_usd * MICRO) == (5, Decimal("141.87") + Decimal("47.29") + ONE)
    with closing(JobStore(line.queue.jobs.place)) as store:
        assert told(store).calls == 5
