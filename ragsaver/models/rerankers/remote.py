"""A reranker behind HTTP: text-embeddings-inference's `POST /rerank`.

Sent is `{"query", "texts", "truncate": true}`; what comes back is `[{"index", "score"}]`, in any order. An answer of
another shape is an error: an order made of half of the scores would look like any other.
"""

import json
import time
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from ragsaver.addresses import without_password
from ragsaver.errors import RerankError, RerankLate, RerankRefused
from ragsaver.models.rerankers.protocol import NO_LIMIT, giving_up

_CHECK = "Check `rerank.url` and that the server runs"
_LONGEST_S = 60.0  # where no deadline is given
_MOST_BYTES = 4 * 2**20  # of an answer
_MOST = float(np.finfo(np.float32).max)


class RemoteReranker:
    """One server.

    :param url: without the path `/rerank`.
    :param api_key: sent as a bearer token if there is one.
    :param model: what people call it; the URL, without a password, if None.
    """

    def __init__(self, url: str, *, api_key: str | None = None, model: str | None = None) -> None:
        self._url = url.rstrip("/") + "/rerank"
        self._name = model or without_password(url)
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(headers=headers, follow_redirects=False)

    @property
    def name(self) -> str:
        """The model's name in the settings, or the URL."""
        return self._name

    def score(
        self, question: str, texts: Sequence[str], *, until: float = NO_LIMIT, tenant: str = ""
    ) -> NDArray[np.float32]:
        """As the server gives them."""
        left_s = min(until - time.monotonic(), _LONGEST_S)
        if left_s <= 0:
            raise self._late()
        asked = {"query": question, "texts": list(texts), "truncate": True}
        try:
            with self._client.stream("POST", self._url, json=asked, timeout=left_s) as answer:
                body = self._read(answer, until)
        except httpx.TimeoutException as error:
            raise self._late() from error
        except httpx.ConnectError as error:
            raise self._wrong("can't be reached", _CHECK, RerankRefused) from error
        except httpx.InvalidURL as error:
            raise self._wrong("has an address that none can have", _CHECK, RerankRefused) from error
        except httpx.HTTPError as error:
            raise self._wrong(f"broke the connection ({type(error).__name__})", _CHECK) from error
        if answer.status_code != 200:
            raise self._wrong(f"failed (HTTP {answer.status_code})", "Look at the server's own log", RerankRefused)
        return self._scores(body, len(texts))

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _read(self, answer: httpx.Response, until: float) -> bytes:
        look = giving_up(until, self._name)
        body = b""
        for piece in answer.iter_bytes():
            look(0)  # a server that sends a byte now and then never times out by itself
            body += piece
            if len(body) > _MOST_BYTES:
                raise self._wrong("sends more than a list of scores", "Check `rerank.url`")
        return body

    def _scores(self, body: bytes, count: int) -> NDArray[np.float32]:
        found: dict[int, float] = {}
        try:
            rows: Any = json.loads(body)
            for row in rows:
                found[int(row["index"])] = float(row["score"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise self._wrong(f"gave no list of scores ({error})", "Check that it speaks `/rerank`") from error
        if len(rows) != count or found.keys() != set(range(count)) or not all(map(_is_score, found.values())):
            raise self._wrong(f"did not give one score for each of {count} texts", "Check that it speaks `/rerank`")
        return np.array([found[position] for position in range(count)], dtype=np.float32)

    def _late(self) -> RerankLate:
        return RerankLate("did not answer in time", where=self._name, remedy="Raise `rerank.deadline_ms`")

    def _wrong(self, problem: str, remedy: str, kind: type[RerankError] = RerankError) -> RerankError:
        return kind(problem, where=self._name, remedy=remedy)


def _is_score(number: float) -> bool:
    """Whether it stays a number as float32; NaN does not."""
    return abs(number) <= _MOST
