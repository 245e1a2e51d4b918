"""Late interaction with the embedding model that is there anyway: each word of the question finds its best match.

A passage scores the mean, over the question's tokens, of the highest cosine to any of its tokens (MaxSim: Khattab &
Zaharia 2020, section 3.2), of which the signs are kept (`token_signs`). No second model is loaded, and what was read
when a passage was embedded is not read again: without it, a passage costs one pass of the model over its tokens.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import xxhash
from numpy.typing import NDArray

from ragsaver.errors import SettingsError
from ragsaver.models.embedded_text import embed_texts, embedded_hash
from ragsaver.models.micro_batching import MicroBatcher
from ragsaver.models.protocol import Encoder
from ragsaver.models.rerankers.protocol import NO_LIMIT, giving_up, too_late
from ragsaver.models.token_signs import SignCosines, TokenSigns

_READ_TOGETHER = 8  # passages


@runtime_checkable
class TokenEncoder(Encoder, Protocol):
    """An encoder that gives the vectors of tokens, too, of the same run of the model."""

    @property
    def gives_tokens(self) -> bool:
        """Whether this model does."""
        ...

    def read(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> tuple[NDArray[np.float32], list[TokenSigns]]:
        """What `encode` gives of documents, and the signs of their tokens."""
        ...

    def ask(self, questions: Sequence[str]) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """What `encode` gives of questions, and the vectors of their tokens, (tokens, dim) float32 each, L2-normalised
        rows.
        """
        ...


class TokenStore(Protocol):
    """Keeps what was read of texts' tokens, by the names of what was embedded (`embedded_hash`), packed."""

    def get(self, tenant: str, names: Sequence[str]) -> Mapping[str, bytes]:
        """What is there."""
        ...

    def put(self, tenant: str, packed: Mapping[str, bytes]) -> None:
        """Keep some."""
        ...


class PassageText(NamedTuple):
    """What is to be read of a passage.

    :ivar shown: its text.
    :ivar name: of what was embedded; nothing where that is not known.
    :ivar heading: what stood in front of the text there, if anything did; so `title`.
    """

    shown: str
    name: str = ""
    heading: str = ""
    title: str = ""

    def key(self, tenant: str) -> "_Key":
        """The same for the same text, read in the same way."""
        return _Key(tenant, self.name or xxhash.xxh3_128_hexdigest(self.shown.encode()), len(self.shown))

    def as_embedded(self, model_fingerprint: str) -> str | None:
        """What was embedded; None where that can't be told."""
        if not self.name:
            return None
        texts = embed_texts(self.shown, self.heading, self.title)
        return next((one for one in texts if embedded_hash(model_fingerprint, one) == self.name), None)


class _Key(NamedTuple):
    """By which the tokens of a passage are kept in memory: as they are shown, in the last so many characters."""

    tenant: str
    name: str
    characters: int


class MaxSimReranker:
    """MaxSim over an encoder's token vectors; those of passages are kept while there is room.

    :param cache_mb: for what is kept in memory; what was used longest ago goes first.
    :param query_batch: questions asked at the same time that share a run of the model. Passages fill runs by
        themselves.
    :param store: where else it may be, as since a passage was embedded; None if nowhere.
    :raises SettingsError: if the encoder gives no token vectors.
    """

    def __init__(
        self, encoder: Encoder, *, cache_mb: int = 64, query_batch: int = 32, store: TokenStore | None = None
    ) -> None:
        if not isinstance(encoder, TokenEncoder):
            raise SettingsError(
                "MaxSim needs token vectors, which this model's back end does not give",
                where="rerank.backend",
                remedy="Set `embedding.backend` to `onnx`, or do without: `rerank.backend` another one than `maxsim`, "
                "and `context.match: words`",
            )
        self._encoder: TokenEncoder = encoder
        self._store = store
        self._asked: MicroBatcher[str, NDArray[np.float32]] = MicroBatcher(
            lambda questions: encoder.ask(questions)[1], query_batch
        )
        self._room = cache_mb * 2**20
        self._kept: OrderedDict[_Key, TokenSigns] = OrderedDict()
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
        return self.score_passages(question, [PassageText(text) for text in texts], until=until, tenant=tenant)

    def score_passages(
        self,
        question: str,
        passages: Sequence[PassageText],
        *,
        until: float = NO_LIMIT,
        tenant: str = "",
        asked: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """The same of passages of which is known what was embedded.

        :param asked: the question's tokens, if they are there already: (tokens, dim) float32.
        """
        tokens = self.of_question(question) if asked is None else asked
        read = self.of_passages(passages, until=until, tenant=tenant)
        return max_sim(tokens, [one.of_text() for one in read])  # a heading says the same of all passages below it

    def of_question(self, question: str) -> NDArray[np.float32]:
        """(tokens, dim) float32, rows of length 1, without special tokens."""
        return self._asked(question)

    def of_passages(
        self,
        passages: Sequence[PassageText],
        *,
        until: float = NO_LIMIT,
        tenant: str = "",
        on_lacking: Callable[[Sequence[str]], None] = lambda texts: None,
        on_read: Callable[[int], None] = lambda tokens: None,
    ) -> list[TokenSigns]:
        """The tokens of each, their places counted in what is shown of it; those that are kept are not read again, nor
        those that another thread reads meanwhile.

        :param until: as for `score`.
        :param tenant: as for `score`.
        :param on_lacking: called with the texts that are to be read, if any are; what it raises leaves them unread.
        :param on_read: called with the number of tokens that were read, each time some were.
        :raises RerankLate: if it is not done by then.
        """
        keys = [one.key(tenant) for one in passages]
        texts = dict(zip(keys, passages, strict=True))
        there = self._there(texts, tenant)
        lacking = [(key, one) for key, one in texts.items() if key not in there]
        if lacking:
            on_lacking([one.as_embedded(self._encoder.fingerprint) or one.shown for _, one in lacking])
        # some at a time: what was read is kept, so that a question that came too late helps the next one
        for start in range(0, len(lacking), _READ_TOGETHER):
            there |= self._read_once(dict(lacking[start : start + _READ_TOGETHER]), until, on_read)
        return [there[key] for key in keys]

    def recall(self, passages: Sequence[PassageText], *, tenant: str = "") -> list[TokenSigns | None]:
        """The tokens of each, as `of_passages` gives them, where they are kept; none is read."""
        keys = [one.key(tenant) for one in passages]
        there = self._there(dict(zip(keys, passages, strict=True)), tenant)
        return [there.get(key) for key in keys]

    def forget(self) -> None:
        """Keep nothing in memory any more."""
        with self._keeping:
            self._kept.clear()
            self._bytes = 0

    def close(self) -> None:
        """Nothing is open: encoder and store are their owners'."""

    def _there(self, texts: Mapping[_Key, PassageText], tenant: str) -> dict[_Key, TokenSigns]:
        there = self._recalled(list(texts))
        return there | self._stored(tenant, [key for key, one in texts.items() if one.name and key not in there])

    def _read_once(
        self, texts: dict[_Key, PassageText], until: float, on_read: Callable[[int], None]
    ) -> dict[_Key, TokenSigns]:
        """One thread reads at a time: the model takes all cores, so two would only take turns."""
        left_s = max(0.0, min(until - time.monotonic(), threading.TIMEOUT_MAX))
        if not self._reading.acquire(timeout=left_s):
            raise too_late(self.name)
        try:
            there = self._recalled(list(texts))
            if lacking := {key: one for key, one in texts.items() if key not in there}:
                fresh = self._read(lacking, giving_up(until, self.name))
                self._keep(fresh)
                on_read(sum(len(one.signs) for one in fresh.values()))
                there |= fresh
            return there
        finally:
            self._reading.release()

    def _read(self, texts: dict[_Key, PassageText], look: Callable[[int], None]) -> dict[_Key, TokenSigns]:
        known = [one.as_embedded(self._encoder.fingerprint) for one in texts.values()]
        shown = [one.shown for one in texts.values()]
        _, read = self._encoder.read([text or other for text, other in zip(known, shown, strict=True)], look)
        if self._store is not None:
            by_tenant: dict[str, dict[str, bytes]] = {}
            for key, text, one in zip(texts, known, read, strict=True):
                if text is not None and (packed := one.packed()) is not None:
                    by_tenant.setdefault(key.tenant, {})[key.name] = packed
            for tenant, some in by_tenant.items():
                self._store.put(tenant, some)
        return {key: one.of_end(key.characters) for key, one in zip(texts, read, strict=True)}

    def _stored(self, tenant: str, keys: Sequence[_Key]) -> dict[_Key, TokenSigns]:
        if self._store is None or not keys:
            return {}
        packed = self._store.get(tenant, [key.name for key in keys])
        found = {
            key: signs.of_end(key.characters)
            for key in keys
            if key.name in packed and (signs := TokenSigns.unpacked(packed[key.name], self._encoder.dim)) is not None
        }
        self._keep(found)
        return found

    def _recalled(self, keys: Sequence[_Key]) -> dict[_Key, TokenSigns]:
        with self._keeping:
            there = {key: self._kept[key] for key in keys if key in self._kept}
            for key in there:
                self._kept.move_to_end(key)
        return there

    def _keep(self, fresh: dict[_Key, TokenSigns]) -> None:
        with self._keeping:
            for key, tokens in fresh.items():
                if key not in self._kept:
                    self._kept[key] = tokens
                    self._bytes += tokens.nbytes
            while self._bytes > self._room:
                _, gone = self._kept.popitem(last=False)
                self._bytes -= gone.nbytes


def max_sim(question: NDArray[np.float32], passages: Sequence[TokenSigns]) -> NDArray[np.float32]:
    """For each passage the mean, over the question's tokens, of the highest cosine to a token of it.

    :param question: (tokens, dim), rows of length 1.
    :param passages: one without tokens matches nothing, and scores 0.
    """
    found = np.zeros(len(passages), dtype=np.float32)
    there = [place for place, passage in enumerate(passages) if len(passage.signs)]
    if not there or not len(question):
        return found
    lengths = [len(passages[place].signs) for place in there]
    of_tokens = SignCosines.of(question, [passages[place] for place in there])
    best = np.maximum.reduceat(of_tokens.steps, np.cumsum([0, *lengths[:-1]]), axis=0)
    found[there] = of_tokens.cosines(best).mean(axis=1)
    return found
