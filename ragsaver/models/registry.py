"""Which model do the settings mean?"""

from importlib.resources import files
from pathlib import Path

from ragsaver.models.onnx_encoder import OnnxEncoder
from ragsaver.models.protocol import Encoder
from ragsaver.settings import EmbeddingSettings

BUNDLED = "all-MiniLM-L6-v2-int8"


def load_encoder(settings: EmbeddingSettings) -> Encoder:
    """The encoder that the settings name; its session opens at the first text.

    :raises SettingsError: if the folder they name holds no model.
    """
    folder = bundled_folder() if settings.model == "bundled" else Path(settings.model).expanduser()
    return OnnxEncoder(
        folder,
        threads=settings.threads,
        batch_tokens=settings.batch_tokens,
        max_tokens=settings.max_tokens,
    )


def bundled_folder() -> Path:
    """Where the shipped model lies."""
    return Path(str(files("ragsaver.models"))) / BUNDLED
