"""How evidence is found, ranked again and packed."""

from decimal import Decimal
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from ragsaver.settings.section import Section
from ragsaver.settings.urls import is_address, is_header

# Chosen for the bundled model and its gate; docs/benchmarks.md has the measurements.
_THOROUGH = {"feedback_passages": 2, "lexical_weight": 0.5}


class RetrievalSettings(Section):
    """How many candidates are fetched and how the two legs are weighed."""

    candidates: int = Field(default=100, ge=1, le=1000, description="per leg")
    top_k: int = Field(default=20, ge=1, le=1000, description="passages that stay after fusion, at most")
    fusion: Literal["minmax", "zscore", "rrf", "dbsf"] = Field(
        default="minmax", description="how the scores of both legs are made comparable"
    )
    fuse_in: Literal["auto", "here"] = Field(
        default="auto",
        description="`auto` leaves `rrf` and `dbsf` to the engine where no component looks at the scores of each leg, "
        "as for searches (to a Qdrant server only with a `lexical_weight` of 0.5); `here` never does",
    )
    fall_off: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="passages below this share of the best score do not stay"
    )
    least: int = Field(default=5, ge=1, le=1000, description="passages that stay though their scores fall off")
    lexical_weight: float = Field(
        default=0.55,
        ge=0.0,
        le=1.0,
        description="share of BM25 in the fused score; where it is not set, 0.5 in searches that look twice",
    )
    feedback_passages: int = Field(
        default=0,
        ge=0,
        le=20,
        description="best passages whose vectors are added to the question's for a second search, where the legs "
        "disagree about the first one; 0 searches once; where it is not set, 2 in `search.yaml` with the bundled model",
    )
    feedback_weight: float = Field(default=0.7, ge=0.0, le=10.0, description="of those vectors beside the question's")

    def thorough(self) -> "RetrievalSettings":
        """What finds the best order of passages, as far as nothing else is set: for who sees that order."""
        unset = {name: value for name, value in _THOROUGH.items() if name not in self.model_fields_set}
        return self.model_copy(update=unset)


class RerankSettings(Section):
    """A second look at the best passages, where it is likely to help. Pipelines need the component for it."""

    mode: Literal["never", "always", "gated"] | None = Field(
        default=None,
        description="`gated` asks the reranker only where its gate expects another order to be better; default: "
        "`gated` in the pipeline `reranked` and, where that takes no run of a model, in `search.yaml`; else `never`",
    )
    backend: Literal["maxsim", "onnx", "sentence-transformers", "remote"] = Field(
        default="maxsim",
        description="`maxsim` needs no second model; onnx and sentence-transformers (extra `train`) run a "
        "cross-encoder; remote is a server with `POST /rerank`",
    )
    model: str | None = Field(
        default=None,
        description="for onnx a folder with model.onnx and tokenizer.json; for sentence-transformers a folder, or a "
        "name on the hub with `@revision` behind it or not; for remote what people call it",
    )
    url: str | None = Field(default=None, description="of the remote one, without the path `/rerank`")
    api_key: SecretStr | None = Field(default=None, description="sent to the remote one, if it wants one")
    top_n: int = Field(default=20, ge=2, le=200, description="passages that are looked at again")
    max_tokens: int = Field(default=512, ge=16, le=8192, description="of question and passage, for a cross-encoder")
    deadline_ms: float = Field(
        default=1000.0, gt=0, le=60_000, description="after which the question goes on with the order that it had"
    )
    weight: float | None = Field(
        default=None, ge=0.0, le=1.0, description="share of the reranker in the new order; default: the gate's, else 1"
    )
    gate: str = Field(
        default="bundled",
        description="`bundled`; `asked-again`, for `retrieval.feedback_passages: 2`; "
        "or a file that `ragsaver eval tune-gate` wrote",
    )
    usd_per_1k_calls: Decimal | None = Field(
        default=None,
        ge=0,
        description="dollars for a thousand calls; a remote one that has neither this price nor the next costs what a "
        "language model of its name would: 0 for a server of your own",
    )
    usd_per_mtok: Decimal | None = Field(
        default=None, ge=0, description="dollars for a million tokens of passages, each with the question"
    )
    sample_skipped: float = Field(
        default=0.02,
        ge=0.0,
        le=1.0,
        description="share of skipped questions that are reranked afterwards, to know what the gate misses",
    )
    cache_mb: int = Field(
        default=64, ge=0, le=100_000, description="of what was read of passages' tokens, kept in memory"
    )

    @property
    def is_priced(self) -> bool:
        """Whether it is known from here what a call costs; one on a machine of your own without a price is free."""
        return self.backend != "remote" or not (self.usd_per_1k_calls is None and self.usd_per_mtok is None)

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.backend in ("onnx", "sentence-transformers") and not self.model:
            raise ValueError(f"backend {self.backend} needs a `model`")
        if self.backend == "remote" and not str(self.url).startswith(("http://", "https://")):
            raise ValueError("backend remote needs a `url` that begins with http:// or https://")
        if self.backend == "remote" and not is_address(str(self.url)):
            raise ValueError("`url` is no address: it needs a host, a port below 65536 if any, and no spaces")
        if self.api_key and not is_header(self.api_key.get_secret_value()):
            raise ValueError("`api_key` holds characters that no HTTP header takes: only printable ASCII")
        return self


class ContextSettings(Section):
    """What reaches the model."""

    budget_tokens: int = Field(default=400, ge=16, le=1_000_000, description="of all packed passages together")
    match: Literal["words", "tokens"] | None = Field(
        default=None,
        description="how sentences are held against the question: `tokens` also by the vectors of their tokens, which "
        "are kept since a passage was embedded, and are read where they are not; default: `tokens` where they are kept "
        "(`embedding_cache.tokens_mb`) and the embedding model gives them, else `words`",
    )
    deadline_ms: float = Field(
        default=1000.0, gt=0, le=60_000, description="for reading passages, after which words alone decide"
    )
