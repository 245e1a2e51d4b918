"""An endpoint said that all is well (HTTP 200), and what it sent is no chat completion: what is it, in plain words?

Some tell back what they were sent. So what has no form is not quoted, and secrets are masked in what is.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from html import unescape
from typing import Any

from ragsaver.control_characters import on_one_line
from ragsaver.logs.secrets import KNOWN

_LONGEST_CHARS = 160
_READ_CHARS = 20_000
_KEYS = 8
_SSE = "text/event-stream"
_PAGE = re.compile(r"\s*(?:<!doctype\s+html|<html|<head|<body)", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>([^<]{1,400})</title>", re.IGNORECASE)
_SAYS = ("message", "detail", "error", "msg")


class StrangeAnswer(Exception):
    """What came in place of an answer.

    :ivar is_page: it is a web page: the address leads elsewhere.
    """

    def __init__(self, problem: str, *, is_page: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.is_page = is_page


class Came:
    """What came back of one call.

    :param streaming: whether a stream was asked for.
    """

    def __init__(self, *, streaming: bool) -> None:
        self.streaming = streaming
        self.response: Any = None

    def strange(self) -> StrangeAnswer | None:
        """What was wrong with it; None where it looks like an answer, or nothing came."""
        response = self.response
        if response is None or response.status_code >= 300:
            return None
        if _is_stream(response):
            if self.streaming:
                return None
            return StrangeAnswer("answered with a stream, which was not asked for")
        try:
            body = response.text
        except Exception:  # it broke off, which its own error says better
            return None
        said = said_of(body)
        if said is None and self.streaming:
            return StrangeAnswer("answered in one piece, where a stream was asked for")
        return said


_came: ContextVar[Came | None] = ContextVar("ragsaver_came_back", default=None)


@contextmanager
def watching(came: Came) -> Iterator[None]:
    """Note what comes back of the call inside, and tell what is strange about it where the call fails."""
    token = _came.set(came)
    try:
        yield
    except Exception as error:
        strange = came.strange() or _in_a_stream(came, error)
        if strange is None:
            raise
        raise strange from error
    finally:
        _came.reset(token)


def note(response: Any) -> None:
    """A hook of an httpx client: what was asked for as a stream and is none would be gone after it is read."""
    came = _came.get()
    if came is not None:
        came.response = response
        if came.streaming and not _is_stream(response):
            response.read()


async def note_async(response: Any) -> None:
    """The same for an asynchronous client."""
    came = _came.get()
    if came is not None:
        came.response = response
        if came.streaming and not _is_stream(response):
            await response.aread()


def said_of(body: str) -> StrangeAnswer | None:
    """What a body is, if it is no chat completion."""
    if not body.strip():
        return StrangeAnswer("answered with nothing at all")
    if _PAGE.match(body):
        title = _TITLE.search(body)
        named = f" ({_short(unescape(title[1]))})" if title else ""
        return StrangeAnswer(f"answered with a web page{named} in place of a chat completion", is_page=True)
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return StrangeAnswer("answered with something that is no JSON, or breaks off")
    if isinstance(told, dict) and told.get("error"):
        return error_of(told["error"])
    if isinstance(told, dict) and "choices" in told:
        choices = told["choices"]
        if isinstance(choices, list) and all(isinstance(one, dict) and one.get("message") for one in choices):
            return None
        return StrangeAnswer("answered with choices that have no message: it speaks another protocol")
    if isinstance(told, dict):
        said = next((told[name] for name in _SAYS if isinstance(told.get(name), str)), None)
        keys = ", ".join(list(map(str, told))[:_KEYS]) or "none"
        more = f": {_short(said)}" if said else ""
        return StrangeAnswer(f"answered with JSON that is no chat completion (its keys: {_short(keys)}){more}")
    kinds = {list: "a list", str: "a text", type(None): "null", bool: "true or false"}
    return StrangeAnswer(f"answered with {kinds.get(type(told), 'a number')} in place of a chat completion")


def error_of(told: Any) -> StrangeAnswer:
    """What an error says that came in place of an answer, or in the middle of a stream."""
    said = told
    if isinstance(told, dict):
        said = next((told[name] for name in _SAYS if isinstance(told.get(name), str)), json.dumps(told))
    return StrangeAnswer(f"answered with an error, as HTTP 200: {_short(str(said))}")


def _in_a_stream(came: Came, error: Exception) -> StrangeAnswer | None:
    if came.response is None or not _is_stream(came.response):
        return None
    if isinstance(error, json.JSONDecodeError):
        return said_of(error.doc)
    if type(error).__name__ == "APIError":  # of the client: what came was an error
        body = getattr(error, "body", None)
        return error_of(body or str(error))
    if isinstance(error, (TypeError, AttributeError, KeyError, IndexError)):
        return StrangeAnswer("streamed pieces that are none of a chat completion: it speaks another protocol")
    return None


def _is_stream(response: Any) -> bool:
    return str(response.headers.get("content-type", "")).lower().startswith(_SSE)


def _short(text: str) -> str:
    line = on_one_line(" ".join(KNOWN.mask(text[:_READ_CHARS]).split()))
    return line if len(line) <= _LONGEST_CHARS else f"{line[:_LONGEST_CHARS]}..."
