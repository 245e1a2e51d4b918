import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import tenacity
from haystack.dataclasses import ChatMessage
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.attempts import Pause, outcome_of, patience
from ragsaver.components.chat import ChatTier
from ragsaver.components.endpoint_errors import Remedies, retry_after_s, say
from ragsaver.components.retry_budget import RetryBudget
from ragsaver.deadline import due
from ragsaver.errors import GenerationError
from ragsaver.settings import ModelSettings
from tests.openai_server import Script, openai_server


class Failed(Exception):
    def __init__(self, status: int | None = None, **headers: str) -> None:
        self.status_code = status
        self.response = type("Response", (), {"headers": headers})()


class ConnectError(Exception):
    pass


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 429])
def test_what_is_refused_before_any_work_costs_nothing(status: int):
    assert outcome_of(Failed(status)) == "nothing"


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_what_failed_at_work_may_have_cost_anything(status: int):
    assert outcome_of(Failed(status)) == "unknown"


def test_what_was_not_sent_costs_nothing_and_what_was_may():
    error = RuntimeError()
    error.__cause__ = ConnectError()
    assert outcome_of(error) == "nothing"
    assert outcome_of(TimeoutError()) == outcome_of(KeyboardInterrupt()) == "unknown"


def test_an_endpoint_says_when_to_come_again_in_seconds_or_by_the_clock():
    later = datetime.now(UTC) + timedelta(seconds=90)
    assert retry_after_s(Failed(429, **{"retry-after": "2.5"})) == 2.5
    assert 60 < retry_after_s(Failed(429, **{"retry-after": format_datetime(later, usegmt=True)})) <= 90
    assert retry_after_s(Failed(429, **{"retry-after": "Wed, 21 Oct 2015 07:28:00 -0000"})) == 0.0
    assert retry_after_s(Failed(429, **{"retry-after": "-5"})) == 0.0
    for said in ("soon", "nan", "Wed, 99 Oct 99999 07:28:00 GMT", ""):
        assert retry_after_s(Failed(429, **{"retry-after": said})) is None, said
    assert retry_after_s(Failed(429)) is None
    assert retry_after_s(None) is None


def test_when_to_come_again_is_told_in_seconds_however_the_endpoint_says_it():
    def told(said: str) -> str:
        return say(Failed(429, **{"retry-after": said}), Remedies("", "", "", ""))[1]

    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert told("2.5") == "Try again in 3 s"
    assert told(later) in {f"Try again in {seconds} s" for seconds in range(60, 92)}
    assert told("soon") == told("inf") == told("nan") == "Try again later"


WINDOWS_S = (0.25, 0.5, 1, 2, 4, 8, 8, 8)
HOUR_S = 3600.0


@pytest.fixture
def seeded() -> Iterator[None]:
    """Chance, the same one each time."""
    before = random.getstate()
    random.seed(7)
    yield
    random.setstate(before)


def failure(**headers: str) -> GenerationError:
    error = GenerationError("on purpose")
    error.__cause__ = Failed(503, **headers)
    return error


def after(attempt: int, error: GenerationError) -> tenacity.RetryCallState:
    state = tenacity.RetryCallState(None, None, (), {})
    state.attempt_number = attempt
    state.set_exception((type(error), error, None))
    return state


def pauses_of(left_s: float | None, *, longest_s: float = HOUR_S, attempts: int = 6, **headers: str) -> list[float]:
    """The pauses of a call that fails each time; nobody sleeps."""
    made: list[float] = []

    def fail() -> None:
        raise failure(**headers)

    with pytest.raises(GenerationError):
        tenacity.Retrying(**patience(attempts, left_s, longest_s, RetryBudget(1, 100)), sleep=made.append)(fail)
    return made


@pytest.mark.usefixtures("seeded")
def test_a_pause_is_any_part_of_a_window_that_doubles_up_to_its_bound():
    pause, error = Pause(), failure()
    for attempt, window_s in enumerate(WINDOWS_S, start=1):
        drawn = [pause(after(attempt, error)) for _ in range(400)]
        assert 0 <= min(drawn) < 0.05 * window_s and 0.95 * window_s < max(drawn) <= window_s
        assert 0.4 * window_s < sum(drawn) / len(drawn) < 0.6 * window_s


@pytest.mark.usefixtures("seeded")
def test_those_that_failed_together_do_not_come_again_together():
    calls = [pauses_of(None, attempts=4) for _ in range(20)]
    assert {len(pauses) for pauses in calls} == {3}
    assert all(len(set(together)) == 20 for together in zip(*calls, strict=True))


@given(st.floats(0, 1000), st.integers(1, 8))
def test_a_pause_is_as_long_as_the_endpoint_says_whatever_the_window(said_s: float, attempt: int):
    assert Pause()(after(attempt, failure(**{"retry-after": repr(said_s)}))) == said_s


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20))
def test_no_pause_lasts_to_the_deadline_or_longer_than_an_attempt_may(said: int, left: int, longest: int):
    minutes = 60  # what the test itself takes is nothing beside them
    headers = {"retry-after": str(said * minutes)}
    made = pauses_of((left + 0.5) * minutes, longest_s=longest * minutes, attempts=2, **headers)
    assert made == ([said * minutes] if said <= min(left, longest) else [])


def test_no_window_is_waited_in_that_a_deadline_has_no_room_for():
    assert pauses_of(0.0) == []
    assert all(pause < 0.1 for _ in range(50) for pause in pauses_of(0.1))


def test_over_http_an_endpoint_is_left_alone_for_as_long_as_it_says_but_not_beyond_the_deadline():
    model = {"name": "tiny", "max_retries": 2, "timeout_s": 60, "rest_after_failures": 0}
    asked = [ChatMessage.from_user("Who issues the permit?")]
    script = Script(statuses=[429, 429], retry_after="0.6")
    with openai_server(script) as url:
        tier = ChatTier(ModelSettings(base_url=url, **model), lambda texts: [len(text.split()) for text in texts])
        assert tier.reply(asked).text == script.reply
        first, second, third = script.came_at
        assert second - first >= 0.6 and third - second >= 0.6
        script.statuses, script.retry_after = [429], "40"
        with due(time.monotonic() + 30), pytest.raises(GenerationError, match="rate limit"):
            tier.reply(asked)
        assert len(script.came_at) == 4
