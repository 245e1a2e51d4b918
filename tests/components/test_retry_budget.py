"""However many calls fail, retries are a share of them; where few fail, each is made again."""

import asyncio
import threading

import pytest
from haystack.dataclasses import ChatMessage
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.attempts import Pause
from ragsaver.components.chat import ChatTier, budget_of
from ragsaver.components.retry_budget import WINDOW_S, RetryBudget
from ragsaver.errors import GenerationError
from ragsaver.settings import ModelSettings
from tests.clock import Clock
from tests.openai_server import Script, openai_server

MESSAGES = [ChatMessage.from_user("Who issues the permit?")]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between attempts."""
    monkeypatch.setattr(Pause, "__call__", lambda self, state: 0.0)


def tier_at(url: str, **wishes: object) -> ChatTier:
    # the breaker would end the storm as well
    settings = ModelSettings(name="tiny", base_url=url, **{"rest_after_failures": 0, **wishes})
    return ChatTier(settings, lambda texts: [1] * len(texts))


def test_ten_first_attempts_of_a_tenth_each_are_worth_one_retry():
    budget = RetryBudget(0.1, 0, Clock(0.0))
    for _ in range(9):
        budget.first()
        assert not budget.again()
    budget.first()
    assert budget.again() and not budget.again()
    assert budget.counts() == {"first": 10, "retry": 1, "refused": 10}


def test_what_was_put_in_is_lost_with_its_window_and_the_least_is_there_in_each():
    clock = Clock(0.0)
    budget = RetryBudget(1.0, 2, clock)
    for _ in range(100):
        budget.first()
    clock.now = 2 * WINDOW_S
    assert [budget.again() for _ in range(3)] == [True, True, False]
    clock.now = 3.2 * WINDOW_S
    assert [budget.again() for _ in range(3)] == [True, True, False]


@given(
    st.lists(st.tuples(st.floats(0, WINDOW_S / 2), st.integers(0, 9), st.integers(0, 9)), max_size=40),
    st.floats(0, 2),
    st.integers(0, 5),
)
def test_in_no_window_are_retries_more_than_their_share_and_the_least(
    history: list[tuple[float, int, int]], share: float, least: int
):
    clock = Clock(0.0)
    budget = RetryBudget(share, least, clock)
    firsts, retries = [], []
    for after, calls, failures in history:
        clock.now += after
        for _ in range(calls):
            budget.first()
            firsts.append(clock.now)
        for _ in range(failures):
            if budget.again():
                retries.append(clock.now)
                # slots are a tenth of a window wide, so that what is a little older may count still
                lately = sum(at > clock.now - 1.1 * WINDOW_S - 1e-6 for at in firsts)
                mine = sum(at > clock.now - WINDOW_S + 1e-6 for at in retries)
                assert mine <= least + share * lately + 1e-5


@pytest.mark.parametrize("way", ["threads", "tasks"])
def test_an_endpoint_that_always_fails_gets_its_share_of_retries_and_no_more(way: str):
    script = Script(statuses=[503] * 1000)
    with openai_server(script) as url:
        wishes = {"retry_share": 0.2, "retry_least": 3, "max_retries": 5}
        tiers = [tier_at(url, **wishes) for _ in range(4)]  # one process has one budget for all of them
        failed = in_threads(tiers) if way == "threads" else asyncio.run(in_tasks(tiers))
    told = [str(error) for error in failed]
    assert len(told) == 100 and all("failed (HTTP 503)" in text for text in told)
    # 100 first attempts, a fifth as many retries, and three
    assert len(script.requests) == 123
    counts = budget_of(tiers[0].settings).counts()
    assert (counts["first"], counts["retry"]) == (100, 23)
    assert counts["refused"] == sum("retry_share" in text for text in told) >= 100 - 23


def in_threads(tiers: list[ChatTier]) -> list[BaseException]:
    failed: list[BaseException] = []

    def ask(tier: ChatTier) -> None:
        for _ in range(25):
            with pytest.raises(GenerationError) as refused:
                tier.reply(MESSAGES)
            failed.append(refused.value)

    threads = [threading.Thread(target=ask, args=[tier]) for tier in tiers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


async def in_tasks(tiers: list[ChatTier]) -> list[BaseException]:
    async def ask(tier: ChatTier) -> list[BaseException]:
        failed = []
        for _ in range(25):
            with pytest.raises(GenerationError) as refused:
                await tier.reply_async(MESSAGES)
            failed.append(refused.value)
        return failed

    return [error for failed in await asyncio.gather(*map(ask, tiers)) for error in failed]


def test_an_endpoint_that_fails_now_and_then_is_asked_again_each_time():
    one_in_six = [200, 200, 200, 200, 200, 503]
    script = Script(statuses=one_in_six * 10)
    with openai_server(script) as url:
        tier = tier_at(url, retry_share=0.2, retry_least=0)
        assert all(tier.reply(MESSAGES).text for _ in range(50))
    assert budget_of(tier.settings).counts() == {"first": 50, "retry": 9, "refused": 0}
    assert len(script.requests) == 59


def test_where_no_other_attempt_makes_sense_no_retry_is_taken():
    script = Script(statuses=[401, 500])
    with openai_server(script) as url:
        tier = tier_at(url, max_retries=1)
        for _ in range(2):  # a refused key; an error, then an answer
            try:
                tier.reply(MESSAGES)
            except GenerationError as error:
                assert "retry_share" not in str(error)
        script.statuses = [500, 500]
        with pytest.raises(GenerationError) as failed:  # its own `max_retries` end it
            tier.reply(MESSAGES)
    assert "retry_share" not in str(failed.value)
    assert budget_of(tier.settings).counts() == {"first": 3, "retry": 2, "refused": 0}
