"""Any cross-encoder of sentence-transformers, from the hub or a folder."""

import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragsaver.errors import SettingsError
from ragsaver.models.devices import Wanted
from ragsaver.models.rerankers.protocol import NO_LIMIT, giving_up
from ragsaver.models.torch_loading import origin, packages

_BATCH_PAIRS = 16


class TorchCrossEncoder:
    """`model` with one label; it is loaded at the first use.

    :param model: a folder, or a name on the hub: `owner/name`, or `owner/name@revision`.
    """

    def __init__(self, model: str, *, device: Wanted = "auto", max_tokens: int = 512) -> None:
        self._folder, self._name, self._revision = origin(model)
        self._device = device
        self._max_tokens = max_tokens
        self._running = threading.Lock()  # its tokenizer is not safe from two threads
        self._opened: Any = None

    @property
    def name(self) -> str:
        """The folder's name, or the model's on the hub."""
        return self._name

    def score(
        self, question: str, texts: Sequence[str], *, until: float = NO_LIMIT, tenant: str = ""
    ) -> NDArray[np.float32]:
        """Logits."""
        look = giving_up(until, self.name)
        parts: list[NDArray[np.float32]] = []
        with self._running:
            model = self._model()
            as_it_is = import_module("torch").nn.Identity()
            for start in range(0, len(texts), _BATCH_PAIRS):
                look(0)
                pairs = [(question, text) for text in texts[start : start + _BATCH_PAIRS]]
                parts.append(model.predict(pairs, show_progress_bar=False, activation_fn=as_it_is))
        return np.asarray(np.concatenate(parts), dtype=np.float32) if parts else np.zeros(0, dtype=np.float32)

    def close(self) -> None:
        """Nothing is open but the model."""

    def _model(self) -> Any:
        if self._opened is not None:
            return self._opened
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
        self._opened = model
        return model
