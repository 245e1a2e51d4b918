"""What does an error say that came from a model's endpoint? Clients tell it in their own ways, and wrap it.

A chat generator may raise what its client raised, or an error of its own caused by that. So each is asked along its
causes, the nearest first.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ragsaver.errors import RagSaverError

_DEEPEST = 8
# Failures before anything of the request was sent: httpx, requests, urllib3, aiohttp, botocore, Python.
_NOT_SENT = frozenset(
    {
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "UnsupportedProtocol",
        "ProxyError",
        "NewConnectionError",
        "ConnectTimeoutError",
        "ClientConnectorError",
        "EndpointConnectionError",
        "ConnectionRefusedError",
    }
)
_NETWORK = ("Connect", "Connection", "Protocol", "Read")
_LONGEST_CHARS = 300
_DISTRUSTED = "CERTIFICATE_VERIFY_FAILED"  # OpenSSL's word for it, whichever client passes it on


class BrokeOff(Exception):
    """The stream ended, and the answer did not."""


@dataclass(frozen=True, slots=True)
class Remedies:
    """What there is to look at, by what went wrong."""

    key: str
    model: str
    address: str
    unreadable: str


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status that an endpoint refused or failed with; None if it gave none."""
    return next((status for one in _causes(error) if (status := _status(one)) is not None), None)


def was_not_sent(error: BaseException | None) -> bool:
    """Whether it is sure that the endpoint never saw the request."""
    return any(type(one).__name__ in _NOT_SENT for one in _causes(error))


def is_of_the_network(error: BaseException | None) -> bool:
    """Whether time ran out, or the connection broke."""
    return any(word in type(one).__name__ for one in _causes(error) for word in ("Timeout", *_NETWORK))


def ran_out_of_time(error: BaseException | None) -> bool:
    """Whether it took longer than it might."""
    return any("Timeout" in type(one).__name__ for one in _causes(error))


def retry_after_s(error: BaseException | None) -> float | None:
    """Seconds that the endpoint asks to be left alone, by the header `retry-after`; None if it says nothing of the
    kind.
    """
    said = _wait_told(error)
    if said is None:
        return None
    try:
        seconds = float(said)
        return None if math.isnan(seconds) else max(seconds, 0.0)
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(said)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max((when - datetime.now(UTC)).total_seconds(), 0.0)


def _wait_told(error: BaseException | None) -> str | None:
    for one in _causes(error):
        for place in (getattr(one, "response", None), one):
            for name, value in _headers(place).items():
                if str(name).lower() == "retry-after" and value:
                    return str(value)
    return None


def say(error: Exception, remedies: Remedies) -> tuple[str, str]:
    """What was wrong, and what to do."""
    if isinstance(error, BrokeOff):
        return (
            "the stream ended before the answer was complete",
            "Try again: what came until then is on the bill, at most what was held for it",
        )
    status = status_of(error)
    if status in (401, 403):
        return f"refused the API key (HTTP {status})", remedies.key
    if status == 404:
        return "does not know the model or the path (HTTP 404)", remedies.model
    if status == 429:
        wait_s = retry_after_s(error)
        later = wait_s is None or math.isinf(wait_s)
        return (
            "is over its rate limit (HTTP 429)",
            "Try again later" if later else f"Try again in {math.ceil(wait_s or 0)} s",
        )
    if status is not None:
        return f"failed (HTTP {status})", "Try again, and look at the endpoint's own log"
    if any(_DISTRUSTED in str(one) for one in _causes(error)):
        return (
            "has a certificate that is not trusted here",
            "Name a file with its authority's certificate in the variable SSL_CERT_FILE, or correct the address",
        )
    if ran_out_of_time(error):
        return "did not answer in time", "Raise `timeout_s` of the model, or look at the endpoint"
    if is_of_the_network(error):
        return "can't be reached or broke the connection", remedies.address
    return f"gave an answer that can't be read ({in_short(error)})", remedies.unreadable


def in_short(error: BaseException) -> str:
    """Its kind and its words."""
    words = f"{type(error).__name__}: {error}"
    return words if len(words) <= _LONGEST_CHARS else f"{words[:_LONGEST_CHARS]}..."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """It and what it says that caused it; not what merely was handled meanwhile: that may have been another attempt."""
    for _ in range(_DEEPEST):
        if error is None:
            return
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int | None:
    if isinstance(error, RagSaverError):  # its status is for who asked us
        return None
    response = getattr(error, "response", None)
    told = (
        getattr(error, "status_code", None),
        getattr(response, "status_code", None),
        _of_boto(response).get("HTTPStatusCode"),
        getattr(error, "status", None),
        getattr(error, "code", None),
    )
    return next((one for one in told if type(one) is int and 400 <= one < 600), None)


def _headers(place: Any) -> Mapping[str, Any]:
    headers = _of_boto(place).get("HTTPHeaders") or getattr(place, "headers", None)
    return dict(headers.items()) if headers is not None and hasattr(headers, "items") else {}


def _of_boto(response: Any) -> Mapping[str, Any]:
    told = response.get("ResponseMetadata") if isinstance(response, Mapping) else None
    return told if isinstance(told, Mapping) else {}
