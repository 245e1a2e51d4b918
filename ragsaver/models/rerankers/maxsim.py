"""Late interaction with the embedding model that is there anyway: each word of the question finds its best match.

A passage scores the mean, over the question's tokens, of the highest cosine to any of its tokens (MaxSim: Khattab &
Zaharia 2020, section 3.2). No second model is loaded; what it costs is one pass over the passages' tokens.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import xxhash
from numpy.typing import NDArray

from ragsaver.errors import SettingsError
from ragsaver.models.micro_batching import MicroBatcher
from ragsaver.models.protocol import Encoder
from ragsaver.models.rerankers.protocol import NO_LIMIT, giving_up, too_late

_READ_TOGETHER = 8  # passages


@runtime_checkable
class TokenEncoder(Protocol):
    """An encoder that gives the vectors of tokens, too."""

    @property
    def name(self) -> str:
        """What a person calls the model."""
        ...

    def token_vectors(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None, *, query: bool = False
    ) -> list[NDArray[np.float32]]:
        """(tokens, dim) float32 for each text, L2-normalised rows."""
        ...

    def token_spans(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """(tokens, 2) for each text: where in it each token of `token_vectors` begins and ends."""
        ...


class PassageTokens(NamedTuple):
    """What a model read of a passage: token vectors (tokens, dim) float16, and where each stands (tokens, 2) int32, in
    characters; those that stand for no text are empty.
    """

    vectors: NDArray[np.float16]
    spans: NDArray[np.int32]

    @property
    def nbytes(self) -> int:
        """Of both."""
        return self.vectors.nbytes + self.spans.nbytes


class MaxSimReranker:
    """MaxSim over an encoder's token vectors; those of passages are kept, in float16, while there is room.

    :param cache_mb: for kept vectors; what was used longest ago goes first.
    :param query_batch: questions asked at the same time that share a run of the model. Passages fill runs by
        themselves.
    :raises SettingsError: if the encoder gives no token vectors.
    """

    def __init__(self, encoder: Encoder, *, cache_mb: int = 64, query_batch: int = 32) -> None:
        if not isinstance(encoder, TokenEncoder):
            raise SettingsError(
                "MaxSim needs token vectors, which this model's back end does not give",
                where="rerank.backend",
                remedy="Set `embedding.backend` to `onnx`, or do without: `rerank.backend` another one than `maxsim`, "
                "and `context.match: words`",
            )
        self._encoder = encoder
        self._asked: MicroBatcher[str, NDArray[np.float32]] = MicroBatcher(
            lambda questions: encoder.token_vectors(questions, query=True), query_batch
        )
        self._room = cache_mb * 2**20
        self._kept: OrderedDict[tuple[str, str], PassageTokens] = OrderedDict()
        self._bytes = 0
        self._keeping = threading.Lock()
        self._reading = threading.Lock()

    @property
    def name(self) -> str:
        """Names the encoder."""
        return f"maxsim {self._encoder.name}"

    def score(
        self, question: str, texts: Sequence[str], *, until: float = NO_LIMIT, tenant: str = ""
    ) -> NDArray[np.float32]:
        """Mean of the best cosines, -1 to 1."""
        asked = self.of_question(question)
        return max_sim(asked, [one.vectors for one in self.of_passages(texts, until=until, tenant=tenant)])

    def of_question(self, question: str) -> NDArray[np.float32]:
        """(tokens, dim) float32, rows of length 1, without special tokens."""
        return self._asked(question)

    def of_passages(
        self,
        texts: Sequence[str],
        *,
        until: float = NO_LIMIT,
        tenant: str = "",
        on_read: Callable[[int], None] = lambda tokens: None,
    ) -> list[PassageTokens]:
        """The tokens of each; those that are kept are not read again, nor those that another thread reads meanwhile.

        :param until: as for `score`.
        :param tenant: as for `score`.
        :param on_read: called with the number of tokens that were read, each time some were.
        :raises RerankLate: if it is not done by then.
        """
        keys = [(tenant, xxhash.xxh3_128_hexdigest(text.encode())) for text in texts]
        there = self._recalled(keys)
        lacking = list({key: text for key, text in zip(keys, texts, strict=True) if key not in there}.items())
        # some at a time: what was read is kept, so that a question that came too late helps the next one
        for start in range(0, len(lacking), _READ_TOGETHER):
            there |= self._read_once(dict(lacking[start : start + _READ_TOGETHER]), until, on_read)
        return [there[key] for key in keys]

    def close(self) -> None:
        """Nothing is open: the encoder is its owner's."""

    def _read_once(
        self, texts: dict[tuple[str, str], str], until: float, on_read: Callable[[int], None]
    ) -> dict[tuple[str, str], PassageTokens]:
        """One thread reads at a time: the model takes all cores, so two would only take turns."""
        left_s = max(0.0, min(until - time.monotonic(), threading.TIMEOUT_MAX))
        if not self._reading.acquire(timeout=left_s):
            raise too_late(self.name)
        try:
            there = self._recalled(list(texts))
            if lacking := {key: text for key, text in texts.items() if key not in there}:
                fresh = self._read(lacking, giving_up(until, self.name))
                self._keep(fresh)
                on_read(sum(len(one.vectors) for one in fresh.values()))
                there |= fresh
            return there
        finally:
            self._reading.release()

    def _read(
        self, texts: dict[tuple[str, str], str], look: Callable[[int], None]
    ) -> dict[tuple[str, str], PassageTokens]:
        some = list(texts.values())
        read = zip(self._encoder.token_vectors(some, look), self._encoder.token_spans(some), strict=True)
        return {
            key: PassageTokens(vectors.astype(np.float16), spans)
            for key, (vectors, spans) in zip(texts, read, strict=True)
        }

    def _recalled(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], PassageTokens]:
        with self._keeping:
            there = {key: self._kept[key] for key in keys if key in self._kept}
            for key in there:
                self._kept.move_to_end(key)
        return there

    def _keep(self, fresh: dict[tuple[str, str], PassageTokens]) -> None:
        with self._keeping:
            for key, tokens in fresh.items():
                if key not in self._kept:
                    self._kept[key] = tokens
                    self._bytes += tokens.nbytes
            while self._bytes > self._room:
                _, gone = self._kept.popitem(last=False)
                self._bytes -= gone.nbytes


def max_sim(question: NDArray[np.float32], passages: Sequence[NDArray[np.floating]]) -> NDArray[np.float32]:
    """For each passage the mean, over the question's tokens, of the highest cosine to a token of it.

    :param question: (tokens, dim), rows of length 1.
    :param passages: the same, of any precision; one without tokens matches nothing, and scores 0.
    """
    found = np.zeros(len(passages), dtype=np.float32)
    there = [place for place, passage in enumerate(passages) if len(passage)]
    if not there or not len(question):
        return found
    lengths = [len(passages[place]) for place in there]
    # one product for all: twenty small ones cost more in waking threads than in work
    cosines = question @ np.concatenate([passages[place] for place in there]).astype(np.float32).T
    found[there] = np.maximum.reduceat(cosines, np.cumsum([0, *lengths[:-1]]), axis=1).mean(axis=0)
    return found
