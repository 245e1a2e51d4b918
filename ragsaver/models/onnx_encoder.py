"""Sentence embeddings by onnxruntime, on the CPU or on CUDA: no torch, length-sorted batches, one session."""

import threading
from collections.abc import Callable, Iterator, Sequence
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
from ragsaver.models.token_signs import TokenSigns, bytes_of, signs_of

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
        for positions, (_, mask), found in self._runs(texts, progress, query=query):
            vectors[positions] = self._pooled(found, mask)
        return vectors

    @property
    def gives_tokens(self) -> bool:
        """Whether the model gives its tokens' vectors; not if it pools by itself."""
        return not self._session.pools

    def read(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> tuple[NDArray[np.float32], list[TokenSigns]]:
        """What `encode` gives of documents, and their tokens, of the same runs of the model.

        :param progress: called with the number of texts finished by each batch; what it raises ends the work.
        :raises SettingsError: if the model pools by itself.
        """
        self._require_tokens()
        prefix = len(self._options.prefix_of(query=False))
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        signs: list[NDArray[np.uint8]] = [np.zeros((0, bytes_of(self.dim)), dtype=np.uint8)] * len(texts)
        for positions, (_, mask), found in self._runs(texts, progress, query=False):
            vectors[positions] = self._pooled(found, mask)
            packed, lengths = signs_of(found[mask == 1]), mask.sum(axis=1)
            for position, mine in zip(positions, np.split(packed, np.cumsum(lengths)[:-1]), strict=True):
                signs[position] = mine
        encodings = self._tokenizer.encode_batch(self._prefixed(texts, query=False))
        spans = [np.maximum(np.array(one.offsets, dtype=np.int32).reshape(-1, 2) - prefix, 0) for one in encodings]
        return vectors, list(map(TokenSigns, signs, spans, map(len, texts)))

    def ask(self, questions: Sequence[str]) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """What `encode` gives of questions, and the vectors of their tokens, (tokens, dim) float32 each, rows
        L2-normalised, of the same runs of the model; special tokens are left out, since they ask for nothing.

        :raises SettingsError: if the model pools by itself.
        """
        self._require_tokens()
        vectors = np.zeros((len(questions), self.dim), dtype=np.float32)
        tokens: list[NDArray[np.float32]] = [np.zeros((0, self.dim), dtype=np.float32)] * len(questions)
        for positions, (ids, mask), found in self._runs(questions, query=True):
            vectors[positions] = self._pooled(found, mask)
            there = mask == 1
            asks = there & ~np.isin(ids, self._special)
            for row, position in enumerate(positions):
                tokens[position] = normalise(found[row, asks[row] if asks[row].any() else there[row]])
        return vectors, tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without prefix, special tokens and cut."""
        return self._counts(texts)

    def _tokenize(self, texts: list[str]) -> tuple[list[int], Callable[[list[int]], _Inputs]]:
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]

        def pad(group: list[int]) -> _Inputs:
            picked = [rows[number] for number in group]
            return pad_right(picked), mask_of(picked)

        return [len(row) for row in rows], pad

    def _runs(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None, *, query: bool
    ) -> Iterator[tuple[list[int], _Inputs, NDArray[np.float32]]]:
        """Of each run of the model the positions of its texts, what it was given, and what it gave."""
        budget = self._options.budget_on(self.device)
        for batch in ready_batches(self._prefixed(texts, query=query), self._tokenize, budget, self.device):
            yield batch.positions, batch.inputs, self._session.run(*batch.inputs)
            if self._on_batch and not query:
                self._on_batch(batch.tokens, batch.padded)
            if progress:
                progress(len(batch.positions))

    def _prefixed(self, texts: Sequence[str], *, query: bool) -> list[str]:
        prefix = self._options.prefix_of(query=query)
        return [prefix + text for text in texts]

    def _pooled(self, found: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        return normalise(found) if self._session.pools else mean_pool(found, mask)

    def _require_tokens(self) -> None:
        if not self.gives_tokens:
            raise SettingsError(
                "gives no token vectors: it pools by itself",
                where=str(self.folder),
                remedy="Set `rerank.backend` to another reranker than `maxsim`, and `context.match` to `words`",
            )

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = Tokenizer.from_file(str(self.folder / TOKENIZER))
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=self._options.max_tokens)
        return tokenizer

    @cached_property
    def _special(self) -> list[int]:
        """The tokens that stand around any text."""
        return list(self._tokenizer.encode("").ids)

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
