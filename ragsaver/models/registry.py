"""Which model do the settings mean, and which back end runs it?"""

from importlib.resources import files
from pathlib import Path

from ragsaver.errors import SettingsError
from ragsaver.models.batching import BatchObserver
from ragsaver.models.onnx_encoder import OnnxEncoder
from ragsaver.models.options import EncoderOptions
from ragsaver.models.protocol import Encoder
from ragsaver.models.torch_encoder import TorchEncoder
from ragsaver.settings import EmbeddingSettings

BUNDLED = "all-MiniLM-L6-v2-int8"


def load_encoder(settings: EmbeddingSettings, on_batch: BatchObserver | None = None) -> Encoder:
    """The encoder that the settings name; it opens its model when it is first needed.

    :param on_batch: told of each batch of documents.
    :raises SettingsError: if the folder they name holds no model, or the bundled one can't be run as they say.
    """
    bundled = settings.is_bundled
    if bundled and settings.backend != "onnx":
        raise SettingsError(
            "the bundled model runs on onnx only",
            where="embedding.backend",
            remedy="Set `embedding.model` to a model's folder or name on the hub, or `embedding.backend` to `onnx`",
        )
    if bundled and settings.precision != "auto":
        raise SettingsError(
            f"the bundled model is int8, not {settings.precision}",
            where="embedding.precision",
            remedy="Set `embedding.precision` to `auto`, or `embedding.model` to another model",
        )
    options = EncoderOptions(
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
        batch_tokens=settings.batch_tokens,
        max_tokens=settings.max_tokens,
        prefix=settings.prefix,
        query_prefix=settings.query_prefix,
    )
    if settings.backend == "sentence-transformers":
        return TorchEncoder(settings.model, options, on_batch)
    return OnnxEncoder(bundled_folder() if bundled else Path(settings.model).expanduser(), options, on_batch)


def bundled_folder() -> Path:
    """Where the shipped model lies."""
    return Path(str(files("ragsaver.models"))) / BUNDLED
