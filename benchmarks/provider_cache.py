"""A provider's cache of prompts' beginnings, SIMULATED by the rule that OpenAI publishes.

A prompt that begins as an earlier one of the same model does is read from the cache as far as they are alike: from
1,024 tokens on, in steps of 128. This one never forgets, so it has at least what a real one would have.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

LEAST_TOKENS, STEP_TOKENS = 1024, 128
_BLOCK_CHARS = 64
_LEAST_CHARS = 2 * LEAST_TOKENS  # shorter texts have fewer tokens


class ProviderCache:
    """What a provider has of each prompt, and what it would have cost as fresh input.

    :param count: tokens of each of some texts.
    :param input_per_mtok: dollars for a million fresh tokens, by model.
    :ivar had_usd: of all prompts since `forget`.
    """

    def __init__(self, count: Callable[[Sequence[str]], list[int]], input_per_mtok: Mapping[str, Decimal]) -> None:
        self._count, self._input = count, input_per_mtok
        self._known: set[bytes] = set()
        self._lock = threading.Lock()
        self.had_usd = 0.0

    def forget(self) -> None:
        """Begin again."""
        with self._lock:
            self._known.clear()
            self.had_usd = 0.0

    def had(self, model: str, texts: Sequence[str]) -> int:
        """Tokens of a prompt that were there; from now on all of it is.

        :param texts: of the messages.
        """
        prompt = "\n".join(texts)
        with self._lock:
            alike, known, digest = 0, True, hashlib.blake2b(model.encode(), digest_size=16)
            for end in range(_BLOCK_CHARS, len(prompt) + 1, _BLOCK_CHARS):
                digest.update(prompt[end - _BLOCK_CHARS : end].encode())
                beginning = digest.digest()
                known = known and beginning in self._known
                alike = end if known else alike
                self._known.add(beginning)
            if alike < _LEAST_CHARS:
                return 0
            tokens = self._count([prompt[:alike]])[0]
            found = tokens // STEP_TOKENS * STEP_TOKENS if tokens >= LEAST_TOKENS else 0
            self.had_usd += found * float(self._input[model]) / 1e6
            return found
