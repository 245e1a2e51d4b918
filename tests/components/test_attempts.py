from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from ragsaver.components.attempts import outcome_of
from ragsaver.components.endpoint_errors import Remedies, retry_after_s, say


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
