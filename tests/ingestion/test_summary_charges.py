"""What an ingestion says of its summaries is what the ledger charged for them, to the micro-dollar and failures included."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ragsaver.ingestion.asking import Asking, Reply, Tokens
from ragsaver.ingestion.report import IngestReport
from ragsaver.pipelines.summariser import ChatSummariser
from ragsaver.settings import PriceSettings, Settings
from ragsaver.spend.money import MICRO
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.till import Till
from tests.ingestion.test_charging import charged, micro
from tests.ingestion.test_summaries import Study
from tests.openai_server import Script, openai_server

# 88 tokens in, 13 of the provider's cache, 7 out: 47.29 micro-dollars.
USAGE = {
    "prompt_tokens": 101,
    "completion_tokens": 7,
    "total_tokens": 108,
    "prompt_tokens_details": {"cached_tokens": 13},
}
PRICES = {"tiny": {"input_per_mtok": "0.37", "cached_input_per_mtok": "0.11", "output_per_mtok": "1.9"}}
ONE = 48


@pytest.fixture
def script() -> Script:
    return Script(reply="The office issues permits.", usage=USAGE)


@pytest.fixture
def study(tmp_path: Path, script: Script) -> Iterator[Study]:
    with openai_server(script) as url:
        made = Study(tmp_path, script, url)
        spend = {"prices": PRICES, "embedding_per_mtok": "0.37"}
        told = made.bench.settings.model_dump()
        made.bench.settings = Settings.model_validate({**told, "spend": {**told["spend"], **spend}})
        made.turn_on()
        yield made
        made.close()


@pytest.fixture
def paying(study: Study) -> Iterator[Study]:
    """Who asks the model pays for it."""
    settings, count = study.bench.settings, study.bench.encoder.count_tokens
    till = Till(settings, PriceBook.of(settings.spend), count)
    study.turn_on(ChatSummariser(settings, count, till))
    yield study
    till.close()


def summaries(study: Study) -> list[Any]:
    """What the ledger has of them."""
    return [one for one in charged(study.bench.settings) if one.task == "summary"]


def agrees(study: Study, *reports: IngestReport) -> None:
    """Reports, receipts and ledger say the same of summaries, and of all that was paid for."""
    made, told = summaries(study), [report.summaries for report in reports]
    assert sum(one.cost for one in made) == sum(one.cost_usd for one in told) * MICRO > 0
    tokens = sum(one.fresh + one.cache_read + one.cache_write + one.output + one.reasoning for one in made)
    assert tokens == sum(one.tokens for one in told)
    assert micro(study.bench.settings) == sum(report.receipt.cost_usd for report in reports) * MICRO


def test_runs_with_failed_attempts_say_what_the_ledger_charged(paying: Study):
    paying.write("a.md", "owl", "vole", "bat")
    paying.write("b.md", "mole", "owl")
    # A refusal is free, and of one that may have worked nobody knows what it took.
    paying.script.statuses = [500, 200, 429, 503, 200]
    first = paying.bench.ingest()
    assert (first.summaries.made, first.summaries.lacking, first.summaries.calls) == (4, 0, 7)
    assert [one.outcome for one in summaries(paying)].count("unknown") == 2
    agrees(paying, first)

    paying.write("c.md", "wolf", "bat")
    paying.script.cut_after = 2
    cut = paying.bench.ingest()
    assert (cut.summaries.lacking, cut.summaries.calls, cut.summaries.cost_usd > 0) == (1, 3, True)
    agrees(paying, first, cut)
    paying.script.cut_after = None
    again = paying.bench.ingest()
    assert again.summaries.cost_usd * MICRO == ONE
    agrees(paying, first, cut, again)


def test_what_is_told_is_what_was_charged_whatever_the_prices_of_now(study: Study):
    settings, count = study.bench.settings, study.bench.encoder.count_tokens
    free = PriceSettings(input_per_mtok=0, output_per_mtok=0)
    till = Till(settings, PriceBook({"tiny": free}), count)
    study.turn_on(ChatSummariser(settings, count, till))
    study.write("a.md", "owl")
    report = study.bench.ingest()
    assert (report.summaries.tokens, report.summaries.cost_usd) == (108, 0)
    till.close()


def test_where_nobody_charges_each_call_counts_as_the_ledger_would_charge_it(study: Study):
    study.write("a.md", "owl", "vole", "bat")
    report = study.bench.ingest()
    assert report.summaries.cost_usd * MICRO == 3 * ONE
    assert study.bench.ingest().summaries.cost_usd == 0


def test_a_plan_s_most_is_enough_for_each_section_in_whole_micro_dollars(study: Study):
    study.write("a.md", *(f"animal{n}" for n in range(10)))
    plan = study.bench.plan()
    worst = plan.summaries.cost_usd * MICRO
    unrounded = plan.summaries.input_tokens * Decimal("0.37") + plan.summaries.output_tokens * Decimal("1.9")
    assert worst == int(worst) > unrounded
    study.script.usage = {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}
    report = study.bench.ingest(max_cost_usd=plan.cost_usd)
    assert (report.summaries.made, report.summaries.cost_usd * MICRO) == (10, 10)


def test_an_attempt_whose_outcome_nobody_knows_passes_no_limit_either(paying: Study):
    paying.write("a.md", "owl")
    most = paying.bench.plan().cost_usd
    paying.script.statuses = [500] * 20
    report = paying.bench.ingest(max_cost_usd=most)
    assert {one.outcome for one in summaries(paying)} == {"unknown"}
    assert report.summaries.lacking == 1
    assert 0 < report.receipt.cost_usd <= most


def test_what_a_cached_summary_saved_is_what_its_answer_took_and_no_failure_before_it(paying: Study):
    paying.write("a.md", "owl")
    paying.script.statuses = [500]
    first = paying.bench.ingest()
    assert first.summaries.cost_usd * MICRO > ONE
    paying.write("b.md", "owl")
    saved = paying.bench.ingest().summaries
    # what a cache keeps knows no cached input
    assert (saved.cached, saved.cost_usd, saved.saved_usd * MICRO) == (1, 0, 101 * Decimal("0.37") + 7 * Decimal("1.9"))


def test_all_attempts_add_up():
    replies = [Reply("", cost_usd=Decimal("0.000007")), Reply("It is up.", Tokens(3), cost_usd=Decimal("0.000002"))]
    answer = Asking(2, 60, wait=lambda seconds: None).ask(lambda left_s: replies.pop(0))
    assert (answer.cost_usd, answer.answering) == (Decimal("0.000009"), Tokens(3))
