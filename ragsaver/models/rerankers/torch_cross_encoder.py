"""Any cross-encoder of sentence-transformers, from the hub or a folder; questions share its runs."""

import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragsaver.errors import SettingsError
from ragsaver.models.devices import Wanted, batch_budget
from ragsaver.models.rerankers.pair_runs import PairRuns
from ragsaver.models.rerankers.protocol import NO_LIMIT, giving_up
from ragsaver.models.torch_loading import origin, packages

# Its tokenizer is not safe from two threads, so lengths are told from the bytes: about so many a token in any writing.
_BYTES_A_TOKEN = 4
_SPECIAL_TOKENS = 3

_Pair = tuple[str, str]


class TorchCrossEncoder:
    """`model` with one label; it is loaded at the first use.

    :param model: a folder, or a name on the hub: `owner/name`, or `owner/name@revision`.
    """

    def __init__(self, model: str, *, device: Wanted = "auto", max_tokens: int = 512) -> None:
        self._folder, self._name, self._revision = origin(model)
        self._device = device
        self._max_tokens = max_tokens
        self._opening = threading.Lock()
        self._opened: tuple[PairRuns[_Pair], int] | None = None

    @property
    def name(self) -> str:
        """The folder's name, or the model's on the hub."""
        return self._name

    def score(
        self, question: str, texts: Sequence[str], *, until: float = NO_LIMIT, tenant: str = ""
    ) -> NDArray[np.float32]:
        """Logits."""
        giving_up(until, self.name)(0)
        runs, longest = self._opened_once()
        pairs = [(question, text) for text in texts]
        return runs.score(pairs, [_tokens_about(pair, longest) for pair in pairs], until)

    def close(self) -> None:
        """Nothing is open but the model."""

    def _opened_once(self) -> tuple[PairRuns[_Pair], int]:
        """Its runs, and the most tokens of a pair."""
        with self._opening:
            if self._opened is None:
                model = self._loaded()
                as_it_is = import_module("torch").nn.Identity()

                def logits(pairs: list[_Pair]) -> NDArray[np.float32]:
                    found = model.predict(pairs, batch_size=len(pairs), show_progress_bar=False, activation_fn=as_it_is)
                    return np.asarray(found, dtype=np.float32)

                budget = batch_budget(0, "cuda" if model.device.type == "cuda" else "cpu")
                self._opened = PairRuns(self.name, logits, budget, shared=True), int(model.max_length)
            return self._opened

    def _loaded(self) -> Any:
        _, transformers, device = packages(self._device, setting="rerank.backend", instead="`maxsim` or `onnx`")
        source = str(self._folder) if self._folder else self._name
        try:
            model = transformers.CrossEncoder(source, revision=self._revision or None, device=device)
        except Exception as error:
            raise SettingsError(
                f"can't be loaded: {error}",
                where=source,
                remedy="Check `rerank.model`, its revision and, for a name on the hub, the network",
            ) from error
        labels = int(model.num_labels)
        if labels != 1:
            raise SettingsError(
                f"gives {labels} scores for a pair, not one", where=source, remedy="Set `rerank.model` to a reranker"
            )
        model.max_length = min(self._max_tokens, model.max_length or self._max_tokens)
        return model


def _tokens_about(pair: _Pair, longest: int) -> int:
    question, text = pair
    return min(longest, _SPECIAL_TOKENS + (len(question.encode()) + len(text.encode())) // _BYTES_A_TOKEN)
