"""An endpoint that keeps failing is left alone for a while, then asked by one."""

import threading
import time

import pytest
from haystack.dataclasses import ChatMessage
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.breaker import Breaker
from ragsaver.components.chat import ChatTier
from ragsaver.deadline import due
from ragsaver.errors import BudgetExceeded, EndpointResting, GenerationError, GenerationLate
from ragsaver.settings import ModelSettings
from tests.clock import Clock
from tests.openai_server import Script, openai_server


class Status(Exception):
    def __init__(self, status_code: int | None) -> None:
        self.status_code = status_code


def attempt(breaker: Breaker, error: BaseException | None = None, status: int | None = None) -> None:
    with breaker.attempt():
        if status is not None:
            raise GenerationError("failed") from Status(status)
        if error is not None:
            raise error


def fail(breaker: Breaker, times: int = 1, status: int = 500) -> None:
    for _ in range(times):
        with pytest.raises(GenerationError, match="failed$"):
            attempt(breaker, status=status)


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("here", 3, 10.0, clock)


def test_it_opens_after_failures_in_a_row_and_says_for_how_long(breaker: Breaker, clock: Clock):
    fail(breaker, 2)
    attempt(breaker)
    fail(breaker, 2)
    assert breaker.state == "closed"
    fail(breaker)
    clock.now = 4.0
    with pytest.raises(EndpointResting) as refused:
        attempt(breaker)
    assert (breaker.state, refused.value.retry_after_s) == ("open", 6.0)


def test_one_probe_closes_it_and_a_failed_one_opens_it_for_twice_as_long(breaker: Breaker, clock: Clock):
    fail(breaker, 3)
    clock.now = 10.0
    assert breaker.state == "half-open"
    fail(breaker)
    clock.now = 29.9
    assert breaker.state == "open"
    clock.now = 30.0
    with breaker.attempt(), pytest.raises(EndpointResting):
        attempt(breaker)
    assert breaker.state == "closed"
    fail(breaker, 3)
    clock.now = 40.0
    assert breaker.state == "half-open"


@pytest.mark.parametrize("status", [400, 401, 404, 429])
def test_an_endpoint_that_refuses_is_alive(breaker: Breaker, status: int):
    fail(breaker, 2)
    fail(breaker, 5, status)
    fail(breaker, 2)
    assert breaker.state == "closed"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BudgetExceeded("no room"), GenerationError("no time is left")])
def test_what_says_nothing_of_the_endpoint_is_no_verdict(breaker: Breaker, clock: Clock, error: BaseException):
    fail(breaker, 3)
    clock.now = 10.0
    with pytest.raises(type(error)):
        attempt(breaker, error)
    assert breaker.state == "half-open"
    attempt(breaker)
    assert breaker.state == "closed"


def test_what_began_before_it_opened_does_not_close_it(breaker: Breaker):
    with breaker.attempt():
        fail(breaker, 3)
    assert breaker.state == "open"


def test_a_probe_that_never_ends_keeps_nobody_out_for_ever(breaker: Breaker, clock: Clock):
    fail(breaker, 3)
    clock.now = 10.0
    lost = breaker.attempt()
    lost.__enter__()
    with pytest.raises(EndpointResting):
        attempt(breaker)
    clock.now = 20.0
    attempt(breaker)
    assert breaker.state == "closed"


def test_of_many_threads_one_probes(breaker: Breaker, clock: Clock):
    fail(breaker, 3)
    clock.now = 10.0
    through, refused, all_there, go = [], [], threading.Barrier(16), threading.Event()

    def ask() -> None:
        all_there.wait(30)
        try:
            with breaker.attempt():
                through.append(1)
                go.wait(30)
        except EndpointResting:
            refused.append(1)
            if len(refused) == 15:
                go.set()

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(through), len(refused)) == (1, 15)


@given(st.lists(st.tuples(st.floats(0, 40), st.sampled_from(["good", "bad", "refused", "nothing"])), max_size=40))
def test_it_never_opens_without_failures_in_a_row_and_always_lets_somebody_try_again(history: list[tuple[float, str]]):
    clock = Clock(0.0)
    breaker = Breaker("here", 3, 10.0, clock)
    errors = {"bad": {"status": 500}, "refused": {"status": 400}, "nothing": {"error": KeyError()}, "good": {}}
    row = 0
    for after, what in history:
        clock.now += after
        try:
            attempt(breaker, **errors[what])  # type: ignore[arg-type]
        except EndpointResting:
            assert row >= 3
            continue
        except (GenerationError, KeyError):
            pass
        row = row + 1 if what == "bad" else row if what == "nothing" else 0
    clock.now += 80.0
    attempt(breaker)
    assert breaker.state == "closed"


def test_a_model_whose_endpoint_failed_is_not_asked_again_for_a_while():
    script = Script(statuses=[500] * 3)
    with openai_server(script) as url:
        settings = ModelSettings(name="tiny", base_url=url, max_retries=0, rest_after_failures=3)
        tiers = [ChatTier(settings, lambda texts: [1] * len(texts)) for _ in range(2)]
        for turn in range(3):
            with pytest.raises(GenerationError, match="HTTP 500"):
                tiers[turn % 2].reply([ChatMessage.from_user("hello")])
        for tier in tiers:
            with pytest.raises(EndpointResting):
                tier.reply([ChatMessage.from_user("hello")])
    assert len(script.requests) == 3


@pytest.mark.parametrize("streamed", [False, True])
def test_askers_in_a_hurry_do_not_make_an_endpoint_rest_for_others(streamed: bool):
    script = Script(hold=threading.Event())
    with openai_server(script) as url:
        tier = ChatTier(
            ModelSettings(name="tiny", base_url=url, rest_after_failures=2), lambda some: [1] * len(some), None
        )
        asked = [ChatMessage.from_user("q")]
        for _ in range(3):
            with due(time.monotonic() + 0.3), pytest.raises(GenerationLate, match="did not answer in time") as late:
                tier.reply(asked, (lambda _: None) if streamed else None)
            assert late.value.status == 504
        script.hold.set()
        assert tier.reply(asked).text == script.reply


def test_a_model_whose_own_time_is_over_again_and_again_rests():
    script = Script(hold=threading.Event())
    with openai_server(script) as url:
        wishes = {"timeout_s": 0.1, "rest_after_failures": 2, "max_retries": 0}
        tier = ChatTier(ModelSettings(name="tiny", base_url=url, **wishes), lambda some: [1] * len(some), None)
        for problem in ("in time", "in time", "left alone"):
            with due(time.monotonic() + 60), pytest.raises(GenerationError, match=problem):
                tier.reply([ChatMessage.from_user("q")])
        script.hold.set()
