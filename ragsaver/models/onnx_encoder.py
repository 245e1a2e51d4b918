"""Sentence embeddings by onnxruntime, on the CPU or on CUDA: no torch, length-sorted batches, one session."""

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ragsaver.errors import SettingsError
from ragsaver.models.batching import BatchObserver, mask_of, pad_right, ready_batches
from ragsaver.models.counting import TokenCounts
from ragsaver.models.devices import TOKENIZER, Device, onnx_weights
from ragsaver.models.fingerprint import fingerprint
from ragsaver.models.onnx_session import OnnxSession, open_on_best, require_model
from ragsaver.models.options import DEFAULTS, EncoderOptions

# token ids and their mask, each (batch, tokens)
_Inputs = tuple[NDArray[np.int64], NDArray[np.int64]]


class OnnxEncoder:
    """A transformer in `folder` (`model.onnx`, `tokenizer.json`), mean-pooled and L2-normalised.

    The model's inputs are `input_ids`, `attention_mask` and, where it has it, `token_type_ids`: int64,
    (batch, tokens). Its first output is (batch, tokens, dim), or (batch, dim) if it pools by itself.

    Dynamic int8 quantisation scales activations by the whole batch, so the same text's vector moves a little
    with its company in the batch: docs/benchmarks.md says by how much.

    :param options: `precision` float16 runs `model_float16.onnx`, `auto` does so on CUDA where it is there; else
        `model.onnx` is run as it is.
    :param on_batch: told of each batch of documents.
    :raises SettingsError: if the folder holds no such model.
    """

    def __init__(self, folder: Path, options: EncoderOptions = DEFAULTS, on_batch: BatchObserver | None = None) -> None:
        require_model(folder, "Set `embedding.model` to `bundled` or to a folder with model.onnx and tokenizer.json")
        onnx_weights(folder, options.precision, "cpu")  # so that a file that is missing is told now
        self.folder = folder
        self._options = options
        self._on_batch = on_batch
        self._opening = threading.Lock()
        self._opened: OnnxSession | None = None

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything that shapes a document's vector; the precision is part of the weights."""
        on_cpu, on_cuda = (onnx_weights(self.folder, self._options.precision, device) for device in ("cpu", "cuda"))
        weights = on_cpu if on_cpu == on_cuda else self._session.weights
        return fingerprint(
            weights, self.folder / TOKENIZER, max_tokens=self._options.max_tokens, prefix=self._options.prefix
        )

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self._session.dim

    @property
    def device(self) -> Device:
        """Where the model runs."""
        return self._session.device

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None, *, query: bool = False
    ) -> NDArray[np.float32]:
        """(len(texts), dim) float32, L2-normalised, in the order given; safe from several threads.

        :param progress: called with the number of texts finished by each batch.
        :param query: the texts are questions, not documents.
        """
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        prefix = self._options.prefix_of(query=query)
        budget = self._options.budget_on(self.device)
        for batch in ready_batches([prefix + text for text in texts], self._tokenize, budget, self.device):
            vectors[batch.positions] = self._embed(batch.inputs)
            if self._on_batch and not query:
                self._on_batch(batch.tokens, batch.padded)
            if progress:
                progress(len(batch.positions))
        return vectors

    def token_vectors(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None, *, query: bool = False
    ) -> list[NDArray[np.float32]]:
        """(tokens, dim) float32 for each text, rows L2-normalised; safe from several threads.

        :param progress: called with the number of texts finished by each batch; what it raises ends the work.
        :param query: the texts are questions: special tokens are left out, since they ask for nothing.
        :raises SettingsError: if the model pools by itself.
        """
        if self._session.pools:
            raise SettingsError(
                "gives no token vectors: it pools by itself",
                where=str(self.folder),
                remedy="Set `rerank.backend` to another reranker than `maxsim`, and `context.match` to `words`",
            )
        found: list[NDArray[np.float32]] = [np.zeros((0, self.dim), dtype=np.float32)] * len(texts)
        prefix = self._options.prefix_of(query=query)
        budget = self._options.budget_on(self.device)
        prefixed = [prefix + text for text in texts]
        for batch in ready_batches(prefixed, self._tokenize, budget, self.device):
            ids, mask = batch.inputs
            hidden = self._session.run(ids, mask)
            for row, position in enumerate(batch.positions):
                found[position] = normalise(hidden[row, mask[row] == 1])
            if progress:
                progress(len(batch.positions))
        if query:
            for position, encoding in enumerate(self._tokenizer.encode_batch(prefixed)):
                asks = np.array(encoding.special_tokens_mask) == 0
                found[position] = found[position][asks] if asks.any() else found[position]
        return found

    def token_spans(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """(tokens, 2) int32 for each text: where in it each token of `token_vectors` begins and ends, in characters.

        Special tokens and those of the prefix are empty.
        """
        prefix = self._options.prefix_of(query=False)
        encodings = self._tokenizer.encode_batch([prefix + text for text in texts])
        return [np.maximum(np.array(one.offsets, dtype=np.int32).reshape(-1, 2) - len(prefix), 0) for one in encodings]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without prefix, special tokens and cut."""
        return self._counts(texts)

    def _tokenize(self, texts: list[str]) -> tuple[list[int], Callable[[list[int]], _Inputs]]:
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]

        def pad(group: list[int]) -> _Inputs:
            picked = [rows[number] for number in group]
            return pad_right(picked), mask_of(picked)

        return [len(row) for row in rows], pad

    def _embed(self, inputs: _Inputs) -> NDArray[np.float32]:
        ids, mask = inputs
        found = self._session.run(ids, mask)
        return normalise(found) if self._session.pools else mean_pool(found, mask)

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = Tokenizer.from_file(str(self.folder / TOKENIZER))
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=self._options.max_tokens)
        return tokenizer

    @cached_property
    def _counts(self) -> TokenCounts:
        return TokenCounts(Tokenizer.from_file(str(self.folder / TOKENIZER)))

    @property
    def _session(self) -> OnnxSession:
        if self._opened is None:
            with self._opening:
                if self._opened is None:
                    self._opened = self._open()
        return self._opened

    def _open(self) -> OnnxSession:
        return open_on_best(
            self._options.device,
            lambda device: onnx_weights(self.folder, self._options.precision, device),
            threads=self._options.threads,
        )


def mean_pool(hidden: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """The mean of the unmasked token vectors, L2-normalised (Reimers & Gurevych 2019, section 3).

    :param hidden: (batch, tokens, dim) float32.
    :param mask: (batch, tokens), 1 where a token stands.
    :returns: (batch, dim) float32; a row without tokens stays zero.
    """
    weights = mask[:, :, None].astype(np.float32)
    return normalise((hidden * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9))


def normalise(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(batch, dim) float32, each row of length 1; a row of zeros stays zero."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norm, 1e-12), dtype=np.float32)
