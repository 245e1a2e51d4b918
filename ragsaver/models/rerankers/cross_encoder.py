"""A cross-encoder on onnxruntime: question and passage read together, one score out."""

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ragsaver.errors import SettingsError
from ragsaver.models.batching import mask_of, pad_right
from ragsaver.models.devices import TOKENIZER, WEIGHTS, Wanted, batch_budget
from ragsaver.models.onnx_session import OnnxSession, open_on_best, require_model
from ragsaver.models.rerankers.pair_runs import PairRuns
from ragsaver.models.rerankers.protocol import NO_LIMIT, giving_up


class OnnxCrossEncoder:
    """A sequence classifier with one label, exported to `folder` (`model.onnx`, `tokenizer.json`).

    Its inputs are those of `OnnxEncoder`; its first output is (batch, 1): a logit. Questions that are asked
    at the same time share its runs on a GPU.

    :param max_tokens: of question and passage together; the passage is cut.
    :raises SettingsError: if the folder holds no such model.
    """

    def __init__(self, folder: Path, *, device: Wanted = "auto", threads: int = 0, max_tokens: int = 512) -> None:
        require_model(folder, "Set `rerank.model` to a folder with model.onnx and tokenizer.json")
        self._folder = folder
        self._device = device
        self._threads = threads
        self._max_tokens = max_tokens
        self._opening = threading.Lock()
        self._opened: PairRuns[Any] | None = None

    @property
    def name(self) -> str:
        """The folder's name."""
        return self._folder.name

    def score(
        self, question: str, texts: Sequence[str], *, until: float = NO_LIMIT, tenant: str = ""
    ) -> NDArray[np.float32]:
        """Logits."""
        giving_up(until, self.name)(0)
        runs = self._runs
        encodings = self._tokenizer.encode_batch([(question, text) for text in texts])
        return runs.score(encodings, [len(one.ids) for one in encodings], until)

    def close(self) -> None:
        """Nothing is open but the model."""

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = Tokenizer.from_file(str(self._folder / TOKENIZER))
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=self._max_tokens, strategy="longest_first")
        return tokenizer

    @property
    def _runs(self) -> PairRuns[Any]:
        with self._opening:
            if self._opened is None:
                session = open_on_best(self._device, lambda _: self._folder / WEIGHTS, threads=self._threads)
                if not session.pools or session.dim != 1:
                    raise SettingsError(
                        "is no cross-encoder: its output is not one score for each pair",
                        where=str(self._folder / WEIGHTS),
                        remedy="Export a sequence classifier with one label",
                    )
                budget = batch_budget(0, session.device, self._threads)
                # a CPU's runs are soon full, and side by side they don't wait for each other's threads
                shared = session.device == "cuda"
                self._opened = PairRuns(self.name, lambda pairs: _logits(session, pairs), budget, shared=shared)
            return self._opened


def _logits(session: OnnxSession, encodings: Sequence[Any]) -> NDArray[np.float32]:
    ids = [one.ids for one in encodings]
    kinds = pad_right([one.type_ids for one in encodings])
    return session.run(pad_right(ids), mask_of(ids), kinds)[:, 0]
