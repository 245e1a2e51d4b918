"""Every attempt at a model is paid for: on the receipt, in the ledger, and by what the endpoint is told."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from haystack.dataclasses import ChatMessage

from ragsaver.components.caller import Caller
from ragsaver.components.chat import ChatTier
from ragsaver.components.chat_reply import CutReply
from ragsaver.components.request import Request, running
from ragsaver.errors import BudgetExceeded, GenerationError, StorageError, TooExpensive, UnknownPrice
from ragsaver.index.scope import Scope
from ragsaver.settings import ModelSettings, Settings
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.receipt import Receipt, open_receipt
from ragsaver.spend.tables import entries, leases
from ragsaver.spend.till import Till
from tests.openai_server import Script, openai_server
from tests.spend.ledgers import check
from tests.spend.test_usage import REPORTED

MESSAGES = [ChatMessage.from_system("Be brief."), ChatMessage.from_user("Who issues the permit?")]
PRICES = {"tiny": {"input_per_mtok": "1", "cached_input_per_mtok": "0.5", "output_per_mtok": "10"}}
# Six words, half as many again, and twelve tokens around each of two messages.
PROMPT = 31


def words(texts):
    return [len(text.split()) for text in texts]


class Counter:
    """A till of its own, with a request that runs on it."""

    def __init__(self, home: Path, **spend: object) -> None:
        self.settings = Settings.model_validate(
            {"home": home, "spend": {"prices": PRICES, "prompt_margin": 0, **spend}}
        )
        self.till = Till(self.settings, PriceBook.of(self.settings.spend), words)
        self.receipt = Receipt()

    def tier(self, url: str, **model: object) -> ChatTier:
        return ChatTier(ModelSettings(name="tiny", base_url=url, **{"max_retries": 0, **model}), words, self.till)

    @contextmanager
    def request(self, **wishes: object) -> Iterator[None]:
        asked = Request(Scope("acme", "docs"), "alice", pipeline="query", **wishes)
        with running(asked), open_receipt() as receipt:
            try:
                yield
            finally:
                self.receipt = receipt.close()

    def entries(self) -> list[sa.Row]:
        with self.till.ledger.database.reading() as connection:
            assert connection.execute(sa.select(leases)).all() == []
            made = connection.execute(sa.select(entries).order_by(entries.c.id)).all()
        check(self.till.ledger)
        assert Decimal(sum(one.cost for one in made)) / 1_000_000 == self.receipt.cost_usd
        return list(made)


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    made = Counter(tmp_path)
    yield made
    made.till.close()


@pytest.mark.parametrize("streamed", [False, True])
def test_what_the_endpoint_billed_is_on_the_receipt_and_in_the_ledger(counter: Counter, streamed: bool):
    with openai_server(Script()) as url, counter.request(request_id="req_1"):
        counter.tier(url).reply(MESSAGES, (lambda chunk: None) if streamed else None)
    (one,) = counter.entries()
    assert (one.tenant, one.principal, one.pipeline, one.tier, one.model) == ("acme", "alice", "query", "small", "tiny")
    assert (one.request_id, one.outcome, one.fresh, one.cache_read, one.output) == ("req_1", "done", 60, 40, 20)
    assert one.cost == 280
    assert one.prices in counter.receipt.lines[0].reason and one.prices.startswith("genai-prices ")


@pytest.mark.parametrize("usage_on", ["last", "finish", "every"])
@pytest.mark.parametrize("provider", sorted(REPORTED))
def test_streams_are_billed_as_whole_replies_are(counter: Counter, provider: str, usage_on: str):
    reported, expected = REPORTED[provider]
    if "input_tokens" in reported:  # no shape of OpenAI's streams
        reported = {**reported, "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    with openai_server(Script(usage=reported, usage_on=usage_on)) as url, counter.request():
        whole = counter.tier(url).reply(MESSAGES)
        streamed = counter.tier(url).reply(MESSAGES, lambda chunk: None)
        later = asyncio.run(counter.tier(url).reply_async(MESSAGES, quietly))
    assert whole.usage == streamed.usage == later.usage == expected
    assert len({one.cost for one in counter.entries()}) == 1


async def quietly(chunk: object) -> None:
    pass


def test_usage_that_grew_until_the_stream_was_cut_is_not_what_it_came_to(counter: Counter):
    with openai_server(Script(cut_after=3, usage_on="every")) as url, counter.request(), pytest.raises(CutReply):
        counter.tier(url, max_output_tokens=100).reply(MESSAGES, lambda chunk: None)
    (one,) = counter.entries()
    assert (one.outcome, one.output) == ("unknown", 100)


def test_an_endpoint_that_wants_to_be_left_alone_for_long_is_not_asked_again(counter: Counter):
    script = Script(statuses=[429, 429], retry_after="3600")
    with openai_server(script) as url, counter.request(), pytest.raises(GenerationError, match="3600"):
        counter.tier(url, max_retries=5).reply(MESSAGES)
    assert len(script.requests) == 1


def test_no_attempt_is_made_after_the_deadline(counter: Counter):
    script = Script(statuses=[429] * 5, retry_after="30")
    with openai_server(script) as url:
        with counter.request(deadline=time.monotonic() + 20), pytest.raises(GenerationError, match="rate limit"):
            counter.tier(url, max_retries=5).reply(MESSAGES)
        with counter.request(deadline=time.monotonic() - 1), pytest.raises(GenerationError, match="no time left"):
            counter.tier(url, max_retries=5).reply(MESSAGES)
    assert len(script.requests) == 1


def test_an_answer_is_not_lost_with_the_ledger_and_its_charge_is_written_later(counter: Counter):
    book = counter.till.ledger
    settle = book.settle

    def fail(*_: object) -> bool:
        raise StorageError("the disk is full")

    with openai_server(Script()) as url, counter.request():
        book.settle = fail
        assert counter.tier(url).reply(MESSAGES).text
        book.settle = settle
        assert counter.tier(url).reply(MESSAGES).text
    assert [one.cost for one in counter.entries()] == [280, 280]


def test_where_the_ledger_can_not_be_written_nothing_is_spent(counter: Counter):
    script = Script()

    def fail(*_: object) -> None:
        raise StorageError("the disk is full")

    counter.till.ledger.reserve = fail
    with openai_server(script) as url, counter.request(), pytest.raises(StorageError):
        counter.tier(url).reply(MESSAGES)
    assert script.requests == []


def test_an_asker_may_want_a_shorter_answer(counter: Counter):
    script = Script()
    with openai_server(script) as url, counter.request(max_output_tokens=7):
        counter.tier(url).reply(MESSAGES)
    assert script.requests[0]["max_tokens"] == 7


def test_each_attempt_has_a_lease_of_its_own_and_is_charged_by_what_became_of_it(counter: Counter):
    script = Script(statuses=[429, 500])
    with openai_server(script) as url, counter.request():
        counter.tier(url, max_retries=2, max_output_tokens=100).reply(MESSAGES)
    outcomes = [(one.outcome, one.cost) for one in counter.entries()]
    worst = PROMPT + 100 * 10
    assert outcomes == [("nothing", 0), ("unknown", worst), ("done", 280)]
    assert [line.cost_usd * 1_000_000 for line in counter.receipt.lines] == [0, worst, 280]


def test_a_stream_that_is_cut_is_charged_all_that_it_held(counter: Counter):
    script = Script(cut_after=3)
    with openai_server(script) as url, counter.request(), pytest.raises(CutReply):
        counter.tier(url, max_output_tokens=100, max_retries=5).reply(MESSAGES, lambda chunk: None)
    (one,) = counter.entries()
    assert (one.outcome, one.cost, one.output, one.estimated) == ("unknown", PROMPT + 1000, 100, True)
    assert len(script.requests) == 1


def test_an_error_that_comes_after_the_answer_had_begun_is_never_free(counter: Counter):
    class Refused(Exception):
        status_code = 400

    def listen(chunk: object) -> None:
        raise Refused

    with openai_server(Script()) as url, counter.request(), pytest.raises(CutReply):
        counter.tier(url, max_output_tokens=100).reply(MESSAGES, listen)
    (one,) = counter.entries()
    assert (one.outcome, one.cost) == ("unknown", PROMPT + 1000)


def test_nothing_is_charged_where_nothing_was_sent_or_the_endpoint_refused(counter: Counter):
    with openai_server(Script(statuses=[401])) as url, counter.request(), pytest.raises(GenerationError):
        counter.tier(url, max_retries=3).reply(MESSAGES)
    with counter.request(), pytest.raises(GenerationError, match="can't be reached"):
        counter.tier(url).reply(MESSAGES)
    assert {(one.outcome, one.cost) for one in counter.entries()} == {("nothing", 0)}


def test_a_client_that_leaves_the_stream_is_charged_all_that_it_held(counter: Counter):
    async def leave() -> None:
        heard = asyncio.Event()

        async def listen(chunk: object) -> None:
            heard.set()
            await asyncio.sleep(60)

        task = asyncio.ensure_future(counter.tier(url, max_output_tokens=100).reply_async(MESSAGES, listen))
        await heard.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with openai_server(Script()) as url, counter.request():
        asyncio.run(leave())
    (one,) = counter.entries()
    assert (one.outcome, one.cost) == ("unknown", PROMPT + 1000)


def asked_in_a_thread(counter: Counter, tier: ChatTier, left: Callable[[], Awaitable[None]]) -> None:
    def ask(caller: Caller) -> None:
        with counter.request(caller=caller), pytest.raises(asyncio.CancelledError):
            tier.reply(MESSAGES)

    async def asked() -> None:
        await asyncio.to_thread(ask, Caller(left))

    asyncio.run(asked())


def test_who_has_left_before_the_endpoint_is_asked_pays_nothing(counter: Counter):
    script = Script()

    async def gone() -> None:
        pass

    with openai_server(script) as url:
        tier = counter.tier(url)
        with counter.request():
            tier.reply(MESSAGES)
        asked_in_a_thread(counter, tier, gone)
    assert len(script.requests) == 1
    with counter.till.ledger.database.reading() as connection:
        assert connection.scalars(sa.select(entries.c.outcome).order_by(entries.c.id)).all() == ["done", "nothing"]
        assert connection.execute(sa.select(leases)).all() == []
    assert counter.receipt.cost_usd == 0


def test_who_leaves_while_an_endpoint_wants_to_be_left_alone_waits_no_longer(counter: Counter):
    script, listened = Script(statuses=[429], retry_after="500"), []

    async def leaves_the_pause() -> None:
        listened.append(bool(script.requests))
        if not listened[-1]:
            await asyncio.Event().wait()

    with openai_server(script) as url:
        asked_in_a_thread(counter, counter.tier(url, max_retries=1, timeout_s=600), leaves_the_pause)
    assert listened[-1] and len(script.requests) == 1
    assert [one.outcome for one in counter.entries()] == ["nothing"]


def test_a_task_that_is_cancelled_while_it_reserves_gives_the_money_back(counter: Counter):
    script = Script()

    async def leave() -> None:
        counter.till.ledger.reserve = slow(counter.till.ledger.reserve, asyncio.get_running_loop())
        task = asyncio.ensure_future(counter.tier(url).reply_async(MESSAGES))
        cancel_when_reserving.append(task)
        with pytest.raises(asyncio.CancelledError):
            await task

    cancel_when_reserving: list[asyncio.Task] = []

    def slow(reserve, loop):
        def reserving(*arguments):
            asyncio.run_coroutine_threadsafe(cancel(), loop).result()
            return reserve(*arguments)

        async def cancel() -> None:
            cancel_when_reserving[0].cancel()

        return reserving

    with openai_server(script) as url, counter.request():
        asyncio.run(leave())
    (one,) = counter.entries()
    assert (one.outcome, one.cost, script.requests) == ("nothing", 0, [])


def test_the_endpoint_is_told_no_more_than_was_reserved(tmp_path: Path):
    # 31 tokens of prompt and 60 of answer, of which nearly all answers need 25 or fewer.
    budget = {"scope": "tenant", "period": "day", "limit_usd": "0.015"}
    counter = Counter(tmp_path, budgets=[budget])
    script = Script(usage={"prompt_tokens": 31, "completion_tokens": 20})
    with openai_server(script) as url:
        tier = counter.tier(url, max_output_tokens=60)
        with counter.request():
            for _ in range(30):
                tier.reply(MESSAGES)
        counter.till.flush()
        counter.till.ledger._learned.clear()
        with counter.request():
            tier.reply(MESSAGES)
    told = [request["max_tokens"] for request in script.requests]
    assert told[:30] == [60] * 30 and 20 < told[30] < 60
    counter.till.close()


def test_an_endpoint_that_counts_more_raises_what_is_foreseen_once_however_many_calls_say_so(counter: Counter):
    script = Script(usage={"prompt_tokens": 2 * (PROMPT + 1), "completion_tokens": 5})
    with openai_server(script) as url, counter.request():
        tier = counter.tier(url)
        for _ in range(5):
            tier.reply(MESSAGES)
        counter.till.flush()
        counter.till.ledger._learned.clear()
        tier.reply(MESSAGES)
        counter.till.flush()
    counter.till.ledger._learned.clear()
    learned = counter.till.ledger.learned("tiny", "answer")
    assert 2 <= learned.prompt_factor < 3
    assert sum(learned.counts.values()) == 6


def test_an_endpoint_that_bills_more_than_was_held_is_charged_what_it_bills_and_the_log_names_it(
    counter: Counter, caplog: pytest.LogCaptureFixture
):
    script = Script(usage={"prompt_tokens": PROMPT, "completion_tokens": 40})
    with openai_server(script) as url, counter.request():
        tier = counter.tier(url, max_output_tokens=40)
        tier.reply(MESSAGES)
        assert caplog.records == []
        script.usage["completion_tokens"] = 41
        tier.reply(MESSAGES)
    told = [one.getMessage() for one in caplog.records]
    assert len(told) == 1 and [one.output for one in counter.entries()] == [40, 41]
    assert f"`tiny` was allowed {PROMPT} tokens of prompt and 40 of answer, and billed {PROMPT} and 41" in told[0]


def test_a_call_that_a_budget_has_no_room_for_is_not_made(tmp_path: Path):
    counter = Counter(tmp_path, budgets=[{"scope": "total", "period": "month", "limit_usd": "0.0010"}])
    script = Script()
    with openai_server(script) as url, counter.request(), pytest.raises(BudgetExceeded, match="total per month"):
        counter.tier(url, max_output_tokens=100).reply(MESSAGES)
    assert script.requests == []
    assert counter.entries() == []
    counter.till.close()


def test_a_request_may_have_a_ceiling_that_its_retries_count_for(counter: Counter):
    script = Script(statuses=[500, 500, 500])
    ceiling = Decimal("0.0025")
    with (
        openai_server(script) as url,
        counter.request(max_cost=ceiling),
        pytest.raises(TooExpensive),
    ):
        counter.tier(url, max_output_tokens=100, max_retries=5).reply(MESSAGES)
    assert len(script.requests) == 2
    counter.entries()


def test_a_price_that_nobody_knows_is_an_upper_one_or_a_refusal(tmp_path: Path):
    upper = {"input_per_mtok": "1000", "output_per_mtok": "1000"}
    counter = Counter(tmp_path, prices={}, upper_price=upper)
    with openai_server(Script()) as url:
        with counter.request():
            counter.tier(url).reply(MESSAGES)
        assert counter.entries()[0].cost == 120_000
        counter.till.close()
        other = Counter(tmp_path / "other", prices={}, unknown_price="refuse")
        with other.request(), pytest.raises(UnknownPrice, match="spend.prices"):
            other.tier(url).reply(MESSAGES)
        other.till.close()


def test_usage_that_the_endpoint_does_not_tell_is_counted_at_what_it_may_be(counter: Counter):
    with openai_server(Script(usage=None)) as url, counter.request():
        counter.tier(url).reply(MESSAGES)
    (one,) = counter.entries()
    assert (one.outcome, one.fresh, one.output, one.estimated) == ("done", PROMPT - 1, 20, True)


@pytest.mark.parametrize("streamed", [False, True])
def test_usage_that_the_endpoint_does_not_tell_costs_no_more_than_was_held(counter: Counter, streamed: bool):
    with openai_server(Script(usage=None)) as url, counter.request():
        counter.tier(url, max_output_tokens=8).reply(MESSAGES, (lambda chunk: None) if streamed else None)
    (one,) = counter.entries()
    assert (one.outcome, one.fresh, one.output, one.estimated) == ("done", PROMPT - 1, 8, True)
