"""Any text model of sentence-transformers as an encoder, from the hub or a folder, on the CPU or on CUDA."""

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragsaver.errors import SettingsError
from ragsaver.models.batching import Batch, BatchObserver, mask_of, pad_right, ready_batches
from ragsaver.models.devices import Device
from ragsaver.models.fingerprint import folder_digest, torch_fingerprint
from ragsaver.models.options import DEFAULTS, EncoderOptions
from ragsaver.models.torch_loading import origin, packages


class TorchEncoder:
    """`model` with its own pooling, L2-normalised; it is loaded at the first use.

    Prompts in the model's configuration are not used: `prefix` and `query_prefix` are.

    :param model: a folder, or a name on the hub: `owner/name`, or `owner/name@revision`.
    :param options: `precision` `auto` takes float16 on CUDA, else what the model was saved in; `threads` are torch's in
        this process; `max_tokens` is never more than the model's own limit.
    :param on_batch: told of each batch of documents.
    :raises SettingsError: if `model` is neither.
    """

    def __init__(self, model: str, options: EncoderOptions = DEFAULTS, on_batch: BatchObserver | None = None) -> None:
        self._folder, self._name, self._revision = origin(model)
        path = Path(model).expanduser()
        if not self._folder and (path.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1):
            raise SettingsError(
                "is neither a folder nor a name on the hub",
                where=model,
                remedy="Set `embedding.model` to a model's folder, or to owner/name",
            )
        self._options = options
        self._on_batch = on_batch
        self._opening = threading.Lock()
        # a Rust tokenizer keeps its cut-off in itself: two threads must not set it at once
        self._tokenizing = threading.Lock()
        self._opened: Any = None

    @property
    def name(self) -> str:
        """The folder's name, or the model's on the hub."""
        return self._name

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything that shapes a document's vector: files or commit, precision, prefix, cut-off."""
        dtype = str(next(self._model.parameters()).dtype).removeprefix("torch.")
        source = folder_digest(self._folder) if self._folder else f"{self._name}@{self._commit}"
        return torch_fingerprint(source, dtype=dtype, max_tokens=self._options.max_tokens, prefix=self._options.prefix)

    @cached_property
    def dim(self) -> int:
        """Width of a vector."""
        return int(self.encode(["width"], query=True).shape[1])

    @property
    def device(self) -> Device:
        """Where the model runs."""
        return "cuda" if self._model.device.type == "cuda" else "cpu"

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None, *, query: bool = False
    ) -> NDArray[np.float32]:
        """(len(texts), dim) float32, L2-normalised, in the order given; safe from several threads.

        :param progress: called with the number of texts finished by each batch.
        :param query: the texts are questions, not documents.
        :raises SettingsError: if a vector isn't finite, because the model needs a wider precision.
        """
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        prefix = self._options.prefix_of(query=query)
        found: list[tuple[Batch[Any], Any]] = []
        parts: list[NDArray[np.float32]] = []

        def fetch() -> None:
            batch, vectors = found[len(parts)]
            parts.append(vectors.cpu().numpy())
            if self._on_batch and not query:
                self._on_batch(batch.tokens, batch.padded)
            if progress:
                progress(len(batch.positions))

        budget = self._options.budget_on(self.device)
        for batch in ready_batches([prefix + text for text in texts], self._tokenize, budget, self.device):
            # CUDA computes this batch while the one before it is fetched
            found.append((batch, self._embed(batch.inputs)))
            if len(found) > 1:
                fetch()
        fetch()
        vectors = np.empty((len(texts), parts[0].shape[1]), dtype=np.float32)
        for (batch, _), part in zip(found, parts, strict=True):
            vectors[batch.positions] = part
        if not np.isfinite(vectors).all():
            raise SettingsError(
                "gives vectors that are not finite",
                where=self._name,
                remedy="Set `embedding.precision` to `float32`: some models overflow in float16",
            )
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without prefix, special tokens and cut."""
        if not texts:
            return []
        rows = self._tokens(list(texts), add_special_tokens=False, truncation=False)
        return [len(ids) for ids in rows["input_ids"]]

    def _tokenize(self, texts: list[str]) -> tuple[list[int], Callable[[list[int]], Any]]:
        tokenizer = self._model.tokenizer
        rows = self._tokens(texts, truncation=True, max_length=self._model.max_seq_length, return_attention_mask=False)
        fillings = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
        on_the_right = tokenizer.padding_side == "right" and rows.keys() <= fillings.keys()

        def pad(group: list[int]) -> dict[str, Any]:
            picked = {name: [values[number] for number in group] for name, values in rows.items()}
            if not on_the_right:
                return dict(tokenizer.pad(picked, padding=True, return_tensors="pt"))
            arrays = {name: pad_right(values, fillings[name] or 0) for name, values in picked.items()}
            arrays["attention_mask"] = mask_of(picked["input_ids"])
            return {name: import_module("torch").from_numpy(array) for name, array in arrays.items()}

        return [len(ids) for ids in rows["input_ids"]], pad

    def _tokens(self, texts: list[str], **options: Any) -> dict[str, list[Any]]:
        tokenizer = self._model.tokenizer
        with self._tokenizing:
            return dict(tokenizer(texts, padding=False, verbose=False, **options))

    def _embed(self, padded: dict[str, Any]) -> Any:
        torch = import_module("torch")
        model = self._model
        with torch.inference_mode():
            features = {name: values.to(model.device, non_blocking=True) for name, values in padded.items()}
            vectors = model(features)["sentence_embedding"][:, : model.truncate_dim].float()
            return torch.nn.functional.normalize(vectors, dim=1)

    @property
    def _commit(self) -> str:
        """The commit that a branch or tag of the hub stood for at the last loading."""
        cached = import_module("huggingface_hub").try_to_load_from_cache
        for name in ("modules.json", "config.json"):
            file = cached(self._name, name, revision=self._revision or "main")
            if isinstance(file, str):
                return Path(file).parent.name
        if self._revision:
            return self._revision
        raise SettingsError(
            "has no commit to be told by",
            where=self._name,
            remedy=f"Set `embedding.model` to `{self._name}@<commit>`",
        )

    @property
    def _model(self) -> Any:
        if self._opened is None:
            with self._opening:
                if self._opened is None:
                    self._opened = self._open()
        return self._opened

    def _open(self) -> Any:
        torch, transformers, device = packages(self._options.device, setting="embedding.backend", instead="`onnx`")
        if self._options.threads:
            torch.set_num_threads(self._options.threads)
        source = str(self._folder) if self._folder else self._name
        try:
            model = transformers.SentenceTransformer(source, revision=self._revision or None, device="cpu")
        except Exception as error:
            raise SettingsError(
                f"can't be loaded: {error}",
                where=source,
                remedy="Check the name of the model, its revision and, for a name on the hub, the network",
            ) from error
        if not hasattr(getattr(model[0], "tokenizer", None), "pad"):
            raise SettingsError(
                "is no transformer for text", where=source, remedy="Set `embedding.model` to one that reads by tokens"
            )
        model.max_seq_length = min(self._options.max_tokens, model.max_seq_length or self._options.max_tokens)
        if self._options.precision == "float16" or (self._options.precision == "auto" and device == "cuda"):
            model.half()
        elif self._options.precision == "float32":
            model.float()
        return model.to(device).eval()
