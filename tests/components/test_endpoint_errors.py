"""Errors of other clients say what they say, however deep it lies."""

import httpx
import pytest

from ragsaver.components.attempts import outcome_of
from ragsaver.components.endpoint_errors import (
    Remedies,
    is_of_the_network,
    retry_after_s,
    say,
    status_of,
    was_not_sent,
)
from ragsaver.errors import Unauthorized
from ragsaver.spend.ledger import NOTHING, UNKNOWN


class Told(Exception):
    """An error with what a client put on it."""

    def __init__(self, **told: object) -> None:
        super().__init__("on purpose")
        for name, value in told.items():
            setattr(self, name, value)


BOTO = {"ResponseMetadata": {"HTTPStatusCode": 429, "HTTPHeaders": {"retry-after": "7"}}}
HTTPX = httpx.HTTPStatusError(
    "", request=httpx.Request("POST", "http://a"), response=httpx.Response(429, headers={"Retry-After": "7"})
)
ERRORS = {
    "openai, anthropic": Told(status_code=429, response=httpx.Response(429, headers={"retry-after": "7"})),
    "httpx": HTTPX,
    "botocore": Told(response=BOTO),
    "google": Told(code=429, response=httpx.Response(429, headers={"retry-after": "7"})),
    "aiohttp": Told(status=429, headers={"Retry-After": "7"}),
    "cohere": Told(status_code=429, headers={"retry-after": "7"}),
}


def caused_by(cause: BaseException) -> BaseException:
    error = RuntimeError("sorry")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("client", ERRORS)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_status_and_the_wish_to_be_left_alone_are_found(client: str, wrapped: bool):
    error = caused_by(ERRORS[client]) if wrapped else ERRORS[client]
    assert (status_of(error), retry_after_s(error)) == (429, 7.0)
    assert outcome_of(error) == NOTHING


@pytest.mark.parametrize(
    "told", [{"status_code": 200}, {"code": "429"}, {"status": True}, {"response": None}, {"code": 7}]
)
def test_what_is_no_failing_status_is_none(told: dict):
    assert status_of(Told(**told)) is None
    assert outcome_of(Told(**told)) == UNKNOWN


def test_the_status_that_we_give_others_is_not_the_endpoint_s():
    assert status_of(Unauthorized("no key")) is None


def test_only_what_is_said_to_be_the_cause_tells_that_nothing_was_sent():
    first = httpx.ConnectError("refused")
    assert was_not_sent(caused_by(first)) and outcome_of(caused_by(first)) == NOTHING
    another = httpx.ReadTimeout("late")
    another.__context__ = first  # an attempt before it
    assert not was_not_sent(another) and outcome_of(another) == UNKNOWN
    assert is_of_the_network(caused_by(another))


def test_a_certificate_that_is_not_trusted_is_no_server_that_is_not_there():
    said = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1006)"
    error = caused_by(httpx.ConnectError(said))
    problem, remedy = say(error, Remedies("", "", "the address", ""))
    assert "certificate" in problem and "SSL_CERT_FILE" in remedy
    assert say(caused_by(httpx.ConnectError("refused")), Remedies("", "", "the address", ""))[1] == "the address"
    assert outcome_of(error) == NOTHING
