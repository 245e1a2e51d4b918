"""Sentence embeddings by onnxruntime: no torch, length-sorted batches, one session for all threads."""

import os
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ragsaver.errors import MissingExtra, SettingsError
from ragsaver.models.batching import batches
from ragsaver.models.fingerprint import fingerprint

WEIGHTS = "model.onnx"
TOKENIZER = "tokenizer.json"


class OnnxEncoder:
    """A transformer in `folder` (`model.onnx`, `tokenizer.json`), mean-pooled and L2-normalised.

    The model's inputs are `input_ids`, `attention_mask` and, where it has it, `token_type_ids`: int64,
    (batch, tokens). Its first output is (batch, tokens, dim) float32.

    Dynamic int8 quantisation scales activations by the whole batch, so the same text's vector moves a little
    with its company in the batch: docs/benchmarks.md says by how much.

    :param threads: CPU threads; 0 takes the cores that this process may use.
    :param batch_tokens: padded tokens in one batch.
    :param max_tokens: tokens of one text, special ones included; the rest is cut.
    :raises SettingsError: if the folder holds no such model.
    """

    def __init__(self, folder: Path, *, threads: int = 0, batch_tokens: int = 2048, max_tokens: int = 256) -> None:
        for name in (WEIGHTS, TOKENIZER):
            if not (folder / name).is_file():
                raise SettingsError(
                    f"holds no {name}",
                    where=str(folder),
                    remedy="Set `embedding.model` to `bundled` or to a folder with model.onnx and tokenizer.json",
                )
        self.folder = folder
        self._threads = threads
        self._batch_tokens = batch_tokens
        self._max_tokens = max_tokens
        self._opening = threading.Lock()
        self._opened: Any = None

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything that shapes a vector."""
        return fingerprint(self.folder, max_tokens=self._max_tokens)

    @cached_property
    def dim(self) -> int:
        """Width of a vector."""
        return int(self._session.get_outputs()[0].shape[-1])

    def encode(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """(len(texts), dim) float32, L2-normalised, in the order given; safe from several threads.

        :param progress: called with the number of texts finished by each batch.
        """
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        if not texts:
            return vectors
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        ids = [encoding.ids for encoding in encodings]
        for group in batches([len(row) for row in ids], self._batch_tokens):
            vectors[group] = self._embed([ids[position] for position in group])
            if progress:
                progress(len(group))
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens and without a cut."""
        encodings = self._counter.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding.ids) for encoding in encodings]

    def _embed(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        width = max(map(len, rows))
        ids = np.zeros((len(rows), width), dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        feed: dict[str, NDArray[np.int64]] = {"input_ids": ids, "attention_mask": mask}
        if self._takes_types:
            feed["token_type_ids"] = np.zeros_like(ids)
        (hidden,) = self._session.run([self._output], feed)
        return mean_pool(hidden, mask)

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = Tokenizer.from_file(str(self.folder / TOKENIZER))
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=self._max_tokens)
        return tokenizer

    @cached_property
    def _counter(self) -> Any:
        tokenizer = Tokenizer.from_file(str(self.folder / TOKENIZER))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @property
    def _session(self) -> Any:
        if self._opened is None:
            with self._opening:
                if self._opened is None:
                    self._opened = self._open()
        return self._opened

    def _open(self) -> Any:
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtra(
                "onnxruntime is not installed",
                remedy='Install it with `pip install "ragsaver[cpu]"`, or `"ragsaver[gpu]"` on a machine with CUDA',
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads or _usable_cores()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(
                str(self.folder / WEIGHTS), options, providers=_providers(onnxruntime.get_available_providers())
            )
        except Exception as error:
            raise SettingsError(f"is no usable ONNX model: {error}", where=str(self.folder / WEIGHTS)) from error

    @cached_property
    def _output(self) -> str:
        return str(self._session.get_outputs()[0].name)

    @cached_property
    def _takes_types(self) -> bool:
        return any(node.name == "token_type_ids" for node in self._session.get_inputs())


def mean_pool(hidden: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """The mean of the unmasked token vectors, L2-normalised (Reimers & Gurevych 2019, section 3).

    :param hidden: (batch, tokens, dim) float32.
    :param mask: (batch, tokens), 1 where a token stands.
    :returns: (batch, dim) float32; a row without tokens stays zero.
    """
    weights = mask[:, :, None].astype(np.float32)
    mean = (hidden * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)
    norm = np.linalg.norm(mean, axis=1, keepdims=True)
    return np.asarray(mean / np.maximum(norm, 1e-12), dtype=np.float32)


def _providers(available: Sequence[str]) -> list[str]:
    """CUDA where there is one, then the CPU; others would give other vectors or need libraries of their own."""
    return [provider for provider in ("CUDAExecutionProvider", "CPUExecutionProvider") if provider in available]


def _usable_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
