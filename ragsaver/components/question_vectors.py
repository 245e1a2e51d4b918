"""A question is embedded once: whoever asks for its vector meanwhile, or again, gets the same one.

What that costs, or saves, is on the running request's receipt.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragsaver.caching.entries import Key, Place
from ragsaver.components.account import current_purse
from ragsaver.components.caches import Caches
from ragsaver.components.evidence import current_evidence
from ragsaver.components.request import current_request
from ragsaver.models.micro_batching import MicroBatcher
from ragsaver.models.protocol import Encoder
from ragsaver.models.rerankers.maxsim import TokenEncoder
from ragsaver.spend.ledger import DONE, NOTHING
from ragsaver.spend.money import usd_of_tokens
from ragsaver.spend.receipt import EMBED_QUERY, ZERO, current_receipt
from ragsaver.spend.till import Till

_KIND = "question vector"
_LASTS_S = 60.0  # that embedding one takes at most


class _Asked(NamedTuple):
    """What one run of the model gave of a question: its vector, (dim,), and its tokens', (tokens, dim); float32.

    :ivar tokens: without any, where nobody asks for them.
    """

    vector: NDArray[np.float32]
    tokens: NDArray[np.float32]

    def packed(self) -> bytes:
        """For a cache."""
        return self.vector.astype(np.float32).tobytes() + self.tokens.astype(np.float16).tobytes()

    @classmethod
    def unpacked(cls, kept: bytes, dim: int) -> "_Asked | None":
        """What `packed` gave; None if these bytes are none."""
        beyond = len(kept) - 4 * dim
        if beyond < 0 or beyond % (2 * dim):
            return None
        tokens = np.frombuffer(kept, np.float16, offset=4 * dim).reshape(-1, dim).astype(np.float32)
        return cls(np.frombuffer(kept, np.float32, dim), tokens)


class QuestionVectors:
    """Vectors by question, (dim,) float32.

    Kept ones are a tenant's own, and of readers of the same groups: a hit would tell what another has asked.

    :param most: questions that share a run of the model.
    :param till: where that is paid for.
    :param usd_per_mtok: dollars for embedding a million tokens.
    :param tokens: whether the vectors of a question's tokens are wanted too: the running question's evidence has them
        then. Asked before the first question.
    """

    def __init__(
        self,
        encoder: Encoder,
        caches: Caches,
        most: int,
        till: Till,
        usd_per_mtok: Decimal = ZERO,
        tokens: Callable[[], bool] = lambda: False,
    ) -> None:
        self._encoder = encoder
        self._till = till
        self._caches = caches
        self._usd_per_mtok = usd_per_mtok
        self._wants_tokens = tokens
        self._embed: MicroBatcher[str, _Asked] = MicroBatcher(self._run, most)

    def __call__(self, question: str) -> NDArray[np.float32]:
        """The vector.

        :raises BudgetExceeded: if embedding costs something, and a budget has no room for it; other refusals as of a
            language model's call.
        """
        evidence = current_evidence()
        if evidence is None:
            return self._looked_up(question).vector
        if question not in evidence.vectors:
            evidence.vectors[question], tokens = self._looked_up(question)
            if len(tokens):
                evidence.tokens[question] = tokens
        return evidence.vectors[question]

    def _looked_up(self, question: str) -> _Asked:
        request, store = current_request(), self._caches.lookups
        if request is None or store is None or not self._caches.wishes.embeddings or request.caching == "off":
            return self._embedded(question)
        key = Key.of(
            Place.of(request.scope.tenant, "", request.scope.groups), _KIND, self._encoder.fingerprint, question
        )
        kept = store.get(key)
        self._caches.tally.count("embedding", "misses" if kept is None else "hits")
        found = None if kept is None else _Asked.unpacked(kept, self._encoder.dim)
        if found is not None:
            self._show(question, kept=True)
            return found
        asked = self._embedded(question)
        store.put(key, asked.packed(), self._caches.wishes.ttl_s)
        return asked

    def price(self, question: str) -> Decimal:
        """Dollars for embedding it."""
        return usd_of_tokens(self._tokens(question), self._usd_per_mtok)

    def _embedded(self, question: str) -> _Asked:
        asked = self._paid(question) if self._usd_per_mtok else self._embed(question)
        self._show(question, kept=False)
        return asked

    def _paid(self, question: str) -> _Asked:
        price = self.price(question)
        fee = current_purse(self._till).reserve(self._encoder.name, EMBED_QUERY, price, _LASTS_S)
        outcome = NOTHING
        try:
            asked = self._embed(question)
            outcome = DONE
        finally:
            fee.settle(outcome)
        return asked

    def _show(self, question: str, *, kept: bool) -> None:
        # tokens are counted where they cost something: for a question that takes as long as looking its vector up
        tokens = self._tokens(question) if self._usd_per_mtok else 0
        usd = usd_of_tokens(tokens, self._usd_per_mtok)
        current_receipt().add(
            EMBED_QUERY,
            self._encoder.name,
            *((tokens, "tokens") if tokens else (1, "questions")),
            cost_usd=ZERO if kept else usd,
            saved_usd=usd if kept else ZERO,
            reason="embedded before" if kept else "the question, embedded",
            paid=bool(usd) and not kept,
        )

    def _tokens(self, question: str) -> int:
        return self._encoder.count_tokens([question])[0]

    def _run(self, questions: list[str]) -> list[_Asked]:
        encoder = self._encoder
        if self._wants_tokens() and isinstance(encoder, TokenEncoder):
            return list(map(_Asked, *encoder.ask(questions)))
        none = np.zeros((0, encoder.dim), dtype=np.float32)
        return [_Asked(vector, none) for vector in encoder.encode(questions, query=True)]
