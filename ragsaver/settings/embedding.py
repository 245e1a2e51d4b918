"""Which model embeds, and what of its vectors is kept."""

from typing import Literal

from pydantic import Field, SecretStr, field_validator

from ragsaver.settings.section import Section

_TOKENS_MB = 2048


class EmbeddingSettings(Section):
    """Which model makes the vectors, and how it is run."""

    backend: Literal["onnx", "sentence-transformers"] = Field(
        default="onnx", description="what runs the model; sentence-transformers needs the extra `train`"
    )
    model: str = Field(
        default="bundled",
        description="`bundled`; for onnx a folder with model.onnx and tokenizer.json; "
        "for sentence-transformers a folder, or a name on the hub with `@revision` behind it or not",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where it runs; `auto` takes CUDA where the back end has it"
    )
    precision: Literal["auto", "float32", "float16"] = Field(
        default="auto",
        description="of the weights; `auto` takes float16 on CUDA (for onnx, where model_float16.onnx is there), "
        "else the model as it is",
    )
    prefix: str = Field(default="", max_length=4096, description="put before each document, as the model asks for it")
    query_prefix: str = Field(default="", max_length=4096, description="put before each question")
    threads: int = Field(default=0, ge=0, le=256, description="CPU threads; 0 takes the cores that the process may use")
    batch_tokens: int = Field(
        default=0,
        ge=0,
        le=262_144,
        description="padded tokens in one batch, 64 or more; 0 takes 256 for each thread of a CPU and 512 at least, "
        "and 65536 on CUDA",
    )
    query_batch: int = Field(
        default=32, ge=1, le=1024, description="questions asked at the same time that share a run; 1: each has its own"
    )
    max_tokens: int = Field(
        default=256, ge=16, le=8192, description="tokens of one text, its prefix included; the rest is cut"
    )

    @field_validator("batch_tokens")
    @classmethod
    def _no_tiny_batches(cls, batch_tokens: int) -> int:
        if 0 < batch_tokens < 64:
            raise ValueError("must be 0 or at least 64")
        return batch_tokens

    @property
    def is_bundled(self) -> bool:
        """Whether it is the shipped model, to whose vectors what is fitted beforehand is fitted."""
        return self.model == "bundled"


class EmbeddingCacheSettings(Section):
    """What was embedded once is not paid for again."""

    backend: Literal["sqlite", "redis"] = Field(default="sqlite", description="a file under `home`, or a fleet's Redis")
    max_mb: int = Field(
        default=1024, ge=1, le=1_000_000, description="of the file; what was used longest ago goes first"
    )
    tokens_mb: int | None = Field(
        default=None,
        ge=0,
        le=10_000_000,
        description="of a second file, of what the model read of texts' tokens (52 bytes each with the bundled one), "
        "by which sentences are held against a question; 0 keeps none; default: 2048 in a file, none in Redis, where "
        "any other number keeps them",
    )
    redis_url: SecretStr | None = Field(default=None, description="default: the variable REDIS_URL")
    ttl_days: int = Field(default=90, ge=1, le=3650, description="in Redis a vector that was not used so long goes")
    shared_by_tenants: bool = Field(
        default=False, description="saves more, and lets a tenant learn that another has the same text"
    )

    @property
    def tokens_room_mb(self) -> int:
        """For what was read of tokens."""
        if self.tokens_mb is not None:
            return self.tokens_mb
        return 0 if self.backend == "redis" else _TOKENS_MB

    @property
    def keeps_tokens(self) -> bool:
        """Whether any of it is kept."""
        return self.tokens_room_mb > 0
