"""One typed tree of settings with its defaults; `settings_file` lays the project's own values over them."""

import math
import os
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

_NAME = r"^[A-Za-z0-9._-]{1,64}$"
LOCAL = "file:"
FREE_TIER = "extractive"
AUTO_TOKENIZER, SHIPPED_TOKENIZER = "auto", "shipped"
_RATE = r"^[1-9][0-9]{0,8}/(second|minute|hour|day)$"
_SCHEMA_NAME = r"^[a-z_][a-z0-9_]{0,39}$"


def _of_redis(url: SecretStr | None) -> SecretStr | None:
    if url is not None and not is_redis(url.get_secret_value()):
        raise ValueError("must begin with redis:// or rediss://")
    return url


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class EmbeddingSettings(_Section):
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


class EmbeddingCacheSettings(_Section):
    """What was embedded once is not paid for again."""

    backend: Literal["sqlite", "redis"] = Field(default="sqlite", description="a file under `home`, or a fleet's Redis")
    max_mb: int = Field(
        default=1024, ge=1, le=1_000_000, description="of the file; what was used longest ago goes first"
    )
    redis_url: SecretStr | None = Field(default=None, description="default: the variable REDIS_URL")
    ttl_days: int = Field(default=90, ge=1, le=3650, description="in Redis a vector that was not used so long goes")
    shared_by_tenants: bool = Field(
        default=False, description="saves more, and lets a tenant learn that another has the same text"
    )


class ChunkingSettings(_Section):
    """How documents are cut. A change of any of these re-chunks the corpus."""

    min_words: int = Field(default=40, ge=1, le=10_000, description="two cuts of a section are no nearer than this")
    max_words: int = Field(default=300, ge=2, le=20_000, description="that a chunk never exceeds")
    embed_headings: bool = Field(default=True, description="put the heading path in front of the embedded text")


class IngestionSettings(_Section):
    """Limits on what one document may cost."""

    max_file_mb: int = Field(default=50, ge=1, le=10_000, description="larger files are reported, not read")
    max_pdf_pages: int = Field(default=2000, ge=1, description="longer ones are reported, not read")
    max_decompressed_mb: int = Field(
        default=200, ge=1, le=100_000, description="that an Office file may unpack to; larger ones are refused"
    )
    max_compression_ratio: int = Field(
        default=100,
        ge=2,
        le=100_000,
        description="unpacked size of an Office file over its size; above it, it is refused",
    )
    convert_timeout_s: float = Field(default=60.0, gt=0, le=86_400, description="after which one file is given up")
    convert_memory_mb: int = Field(
        default=1024, ge=128, le=1_048_576, description="that a process may take to read one file"
    )
    convert_workers: int = Field(
        default=0, ge=0, le=1024, description="processes that read files; 0 takes the cores that the process may use"
    )
    batch_chunks: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="chunks embedded and committed at a time; 0 takes 256, and up to 1,024 where that is quickly done",
    )


class OutlineSettings(_Section):
    """Each document's headings, with the sentence that stands for each section, or a language model's summary of it."""

    budget_tokens: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="of an outline that is shown as text; the deepest lines are left out first; 0 shows all of it",
    )
    summary_model: str | None = Field(
        default=None, description="one of `generation.models`, by name, that summarises sections; none costs nothing"
    )
    summary_min_words: int = Field(
        default=150, ge=1, le=1_000_000, description="shorter sections keep their most central sentence"
    )
    summary_max_words: int = Field(
        default=3000, ge=1, le=1_000_000, description="of a longer section the model reads no more than this"
    )
    summary_max_tokens: int = Field(default=120, ge=16, le=4096, description="that the model may answer")
    summary_concurrency: int = Field(default=4, ge=1, le=256, description="sections that are asked for at a time")
    summary_attempts: int = Field(
        default=3, ge=1, le=10, description="at one section, in place of the model's `max_retries`"
    )
    summary_deadline_s: float = Field(
        default=60.0, gt=0, le=3600, description="for all attempts at one section; then its central sentence stays"
    )
    summary_cache_mb: int = Field(
        default=64, ge=1, le=100_000, description="of kept summaries; what was used longest ago goes first"
    )


class RetentionSettings(_Section):
    """What of a collection stays; what is not set is no reason to go. The longest unused documents go first."""

    max_age_days: float | None = Field(
        default=None, gt=0, description="since a document was brought in or changed; older ones go"
    )
    max_unused_days: float | None = Field(
        default=None, gt=0, description="since a document was last found by a question, or brought in"
    )
    max_documents: int | None = Field(default=None, ge=1, description="that stay")
    max_mb: float | None = Field(default=None, gt=0, description="that vectors and payload of what stays take")


class QuotaSettings(_Section):
    """How much a tenant may have in all its collections; documents beyond it are refused by name, the rest goes in."""

    max_documents: int | None = Field(default=None, ge=0, description="of a tenant")
    max_chunks: int | None = Field(default=None, ge=0, description="of a tenant's documents")
    max_mb: float | None = Field(default=None, ge=0, description="that vectors and payload of a tenant take")


class LifecycleSettings(_Section):
    """How a corpus is kept small. Retention is applied after each ingestion and by `ragsaver documents expire`."""

    retention: dict[Annotated[str, Field(pattern=_NAME)], RetentionSettings] = Field(
        default_factory=dict, description="by collection"
    )
    quota: QuotaSettings = QuotaSettings()
    cold_after_days: float = Field(
        default=30.0, gt=0, description="a document that no question found for so long is reported as cold"
    )
    note_uses_every_s: float = Field(
        default=5.0, gt=0, le=3600, description="what questions found is written down together, no more often than this"
    )


class ScalingSettings(_Section):
    """How many workers are enough: what they are to reach, and their bounds, for `ragsaver worker --autoscale`."""

    model_config = ConfigDict(allow_inf_nan=False)

    min_workers: int = Field(default=0, ge=0, le=1_000_000, description="that there are at any time")
    max_workers: int = Field(default=8, ge=1, le=1_000_000, description="that there may be")
    target_age_s: float = Field(default=300.0, gt=0, description="that a document may wait")
    target_utilisation: float = Field(
        default=0.8, gt=0, le=1, description="share of its time for which a worker is to be busy"
    )
    startup_s: float = Field(default=0.0, ge=0, description="until a new worker takes its first document")
    cooldown_s: float = Field(
        default=120.0, ge=0, description="for which fewer must have been enough before some workers go"
    )
    margin: float = Field(default=0.1, ge=0, le=1, description="growth of demand that those who stay can still bear")
    tokens_per_worker_s: float = Field(
        default=5_000.0, gt=0, description="that a busy worker does, until its throughput was measured"
    )
    tokens_per_document: float = Field(default=7_500.0, gt=0, description="that a waiting document counts for")
    look_every_s: float = Field(default=5.0, gt=0, le=3600, description="how often a worker looks at its queues")

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.min_workers > self.max_workers:
            raise ValueError("min_workers is above max_workers")
        return self


class QueueSettings(_Section):
    """Ingestion by workers. Without a broker documents go in where they are given."""

    broker_url: SecretStr | None = Field(
        default=None,
        description="a Redis: redis://HOST:PORT/DB, rediss:// for TLS; default: the variable CELERY_BROKER_URL or "
        "REDIS_URL if it names one",
    )
    visibility_timeout_s: float = Field(
        default=600.0,
        gt=0,
        le=86_400,
        description="after which the work of a worker that died is given to another",
    )
    max_attempts: int = Field(default=5, ge=1, le=100, description="after which a document is dead until it is retried")
    backoff_s: float = Field(default=2.0, gt=0, le=3600, description="before the second attempt; it doubles each time")
    max_backoff_s: float = Field(default=300.0, gt=0, le=86_400, description="that a backoff never exceeds")
    embed_batch_tokens: int = Field(
        default=16_384, ge=64, le=4_194_304, description="of texts, across documents, that are embedded at a time"
    )
    embed_batch_documents: int = Field(default=32, ge=1, le=10_000, description="that one batch takes its texts from")
    embed_wait_ms: int = Field(
        default=200, ge=1, le=60_000, description="that a document waits for others in its batch"
    )
    max_waiting_documents: int = Field(
        default=100_000, ge=1, le=100_000_000, description="from which on new jobs are refused"
    )
    max_waiting_documents_per_tenant: int | None = Field(
        default=None, ge=1, le=100_000_000, description="of one tenant, from which on its new jobs are refused"
    )
    max_hold_s: float = Field(
        default=1800.0,
        gt=0,
        le=604_800,
        description="that work on a document or batch may take, after which it counts as hung and others take over",
    )
    keep_finished_days: float | None = Field(
        default=30.0, gt=0, le=36_500, description="after which a job that has ended is removed; null: never"
    )
    look_every_s: float = Field(
        default=1.0,
        gt=0,
        le=3600,
        description="how often the owner looks for embedded documents, and all for lost work",
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65_535,
        description="where a worker tells Prometheus of its work; 0 takes a free one; without it nobody is told",
    )
    metrics_host: str = Field(default="127.0.0.1", description="address that a worker's metrics are told at")
    scaling: ScalingSettings = ScalingSettings()

    _only_redis = field_validator("broker_url")(_of_redis)


class DatabaseSettings(_Section):
    """Where manifest, jobs and ledger are kept: in files, or where workers on several machines share them."""

    url: SecretStr | None = Field(
        default=None,
        description="postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with `?sslmode=` or not; needs the extra "
        "`postgres`; default: SQLite files under `home`",
    )
    schema_name: str = Field(
        default="ragsaver",
        pattern=_SCHEMA_NAME,
        description="schemas whose names begin with it hold the tables; projects that share a database need one each",
    )

    @field_validator("url")
    @classmethod
    def _only_postgres(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not is_postgres(url.get_secret_value()):
            raise ValueError(
                "must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE, other characters than letters and digits in "
                "user and password written as %XX"
            )
        return url


class AccessRule(_Section):
    """Whom the documents of some places are for. Of several rules that match one the last decides."""

    glob: str = Field(
        description="which documents, as in a `.gitignore`: compared with the end of their places, or with all of it "
        "if it begins with a slash or a scheme",
    )
    groups: list[str] = Field(min_length=1, description="that may read them, and nobody else")

    @field_validator("glob")
    @classmethod
    def _a_pattern(cls, glob: str) -> str:
        if not glob.strip() or glob != glob.strip():
            raise ValueError("must be a pattern, without spaces around it")
        if glob.startswith(("!", "#")):
            raise ValueError("takes no `!` or `#` in front: write a rule for what it leaves out below the one for all")
        from pathspec import GitIgnoreSpec  # where it is used: most projects have no rules

        try:
            (made,) = GitIgnoreSpec.from_lines([glob]).patterns
        except ValueError as error:
            raise ValueError(f"must be a pattern as in a .gitignore file: {error}") from None
        if made.include is None:
            raise ValueError("must be a pattern that matches something")
        return glob

    @field_validator("groups")
    @classmethod
    def _names(cls, groups: list[str]) -> list[str]:
        if not all(one.strip() for one in groups):
            raise ValueError("must be names of groups; a document that no rule means is everybody's")
        return groups


class SourcesSettings(_Section):
    """Where documents may come from, besides files."""

    allow_private_addresses: bool = Field(
        default=False, description="fetch pages from addresses that are not public too, your intranet's for example"
    )
    timeout_s: float = Field(default=30.0, gt=0, le=3600, description="for one page, redirects and body together")
    sitemap_max_pages: int = Field(
        default=10_000, ge=1, le=1_000_000, description="of one sitemap; what is beyond is reported, not read"
    )
    watch_debounce_ms: int = Field(
        default=1600, ge=1, le=3_600_000, description="changes within this time are taken together"
    )
    access: list[AccessRule] = Field(
        default_factory=list, description="who may read what; what no rule means is everybody's of the tenant"
    )


class IndexSettings(_Section):
    """The vector and lexical index: in the process that owns it, or in a Qdrant server that all share."""

    engine: Literal["edge", "qdrant"] = Field(
        default="edge", description="`edge` is embedded; `qdrant` is a server, and needs the extra `qdrant`"
    )
    url: str | None = Field(
        default=None,
        description="of the Qdrant server: http://HOST:6333; `file:FOLDER` is its client's local mode, for trying it "
        "out; default: the variable QDRANT_URL",
    )
    api_key: SecretStr | None = Field(default=None, description="of the server; default: the variable QDRANT_API_KEY")
    grpc_port: int | None = Field(
        default=6334, ge=1, le=65_535, description="of the server; null speaks REST only, at the URL's port"
    )
    collection: str = Field(
        default="ragsaver",
        pattern=_NAME,
        description="the server's collection that holds all tenants; projects that share a server need one each",
    )
    shards: int | None = Field(
        default=None, ge=1, le=4096, description="of a new collection at the server; null lets the server decide"
    )
    replicas: int = Field(
        default=1,
        ge=1,
        le=64,
        description="of each shard of a new collection; a write is answered when most of them have it",
    )
    on_disk: bool = Field(
        default=False, description="a new collection's vectors are read from the server's disk, not kept in its memory"
    )
    quantization: Literal["none", "int8", "binary", "product", "turbo"] = Field(
        default="none",
        description="smaller copies of the vectors to search in: a new collection at the server has them, the embedded "
        "index after its next optimisation",
    )
    oversampling: float = Field(
        default=2.0,
        ge=1,
        le=100,
        description="with quantisation: so many times as many candidates are compared again by their whole vectors",
    )
    timeout_s: float = Field(default=10.0, gt=0, le=3600, description="for one request to the server")
    deadline_s: float = Field(
        default=30.0, gt=0, le=3600, description="after which a request that failed is not made again"
    )
    language: str = Field(default="english", description="stemming and stop words of BM25")
    bm25_avg_words: float = Field(default=100.0, gt=0, description="mean chunk length that BM25 normalises by")
    bm25_k1: float = Field(default=1.2, gt=0, le=10, description="how much more BM25 gives to a word that is repeated")
    bm25_b: float = Field(
        default=0.75, ge=0, le=1, description="how much BM25 holds a chunk's length against it; 0 not at all"
    )
    optimize_after_points: int = Field(
        default=10_000,
        ge=1,
        description="writes after which the embedded index is optimised, if they are a quarter of its points too",
    )
    tenant_idf: bool = Field(
        default=True,
        description="word statistics of the tenant only, never of the others; a server must be Qdrant 1.19",
    )

    @field_validator("url")
    @classmethod
    def _only_qdrant(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://", LOCAL)):
            raise ValueError("must begin with http://, https:// or file:")
        return url

    @property
    def shared(self) -> bool:
        """Whether several processes may have the index open, so that none owns it."""
        return self.engine == "qdrant" and not (self.url or "").startswith(LOCAL)


class RetrievalSettings(_Section):
    """How many candidates are fetched and how the two legs are weighed."""

    candidates: int = Field(default=100, ge=1, le=1000, description="per leg")
    top_k: int = Field(default=20, ge=1, le=1000, description="passages that stay after fusion, at most")
    fusion: Literal["minmax", "zscore", "rrf", "dbsf"] = Field(
        default="minmax", description="how the scores of both legs are made comparable"
    )
    fall_off: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="passages below this share of the best score do not stay"
    )
    least: int = Field(default=5, ge=1, le=1000, description="passages that stay though their scores fall off")
    lexical_weight: float = Field(default=0.55, ge=0.0, le=1.0, description="share of BM25 in the fused score")
    feedback_passages: int = Field(
        default=0,
        ge=0,
        le=20,
        description="best passages whose vectors are added to the question's for a second search, where the legs "
        "disagree about the first one; 0 searches once",
    )
    feedback_weight: float = Field(default=0.7, ge=0.0, le=10.0, description="of those vectors beside the question's")


class RerankSettings(_Section):
    """A second look at the best passages, where it is likely to help. Pipelines need the component for it."""

    mode: Literal["never", "always", "gated"] = Field(
        default="never", description="`gated` asks the reranker only where its gate expects another order to be better"
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
    gate: str = Field(default="bundled", description="`bundled`, or a file that `ragsaver eval tune-gate` wrote")
    usd_per_1k_calls: Decimal = Field(default=Decimal(0), ge=0, description="dollars for a thousand calls")
    usd_per_mtok: Decimal = Field(
        default=Decimal(0), ge=0, description="dollars for a million tokens of passages, each with the question"
    )
    sample_skipped: float = Field(
        default=0.02,
        ge=0.0,
        le=1.0,
        description="share of skipped questions that are reranked afterwards, to know what the gate misses",
    )
    cache_mb: int = Field(default=64, ge=0, le=100_000, description="of passages' token vectors kept by maxsim")

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.backend in ("onnx", "sentence-transformers") and not self.model:
            raise ValueError(f"backend {self.backend} needs a `model`")
        if self.backend == "remote" and not str(self.url).startswith(("http://", "https://")):
            raise ValueError("backend remote needs a `url` that begins with http:// or https://")
        return self


class ContextSettings(_Section):
    """What reaches the model."""

    budget_tokens: int = Field(default=400, ge=16, le=1_000_000, description="of all packed passages together")


class ModelSettings(_Section):
    """One language model behind an OpenAI-compatible endpoint: a tier."""

    name: str = Field(description="as the endpoint knows it")
    tier: str | None = Field(
        default=None,
        pattern=_NAME,
        description="what `route.tier` says where it answers; default: small, medium, large by its place",
    )
    base_url: str | None = Field(default=None, description="for example http://127.0.0.1:11434/v1")
    api_key: SecretStr | None = Field(default=None, description="default: the variable OPENAI_API_KEY")
    context_tokens: int | None = Field(
        default=None,
        ge=64,
        description="its window; a prompt that does not fit with the answer's tokens skips this tier; none: any fits",
    )
    tokenizer: str = Field(
        default=AUTO_TOKENIZER,
        min_length=1,
        description="that counts its tokens: a tokenizer.json or its folder, or one of tiktoken's encodings (extra "
        "`tiktoken`); `auto` takes tiktoken's by the model's name if its file is on this machine, else the shipped one "
        "with `spend.prompt_margin`; `shipped` always that",
    )
    timeout_s: float = Field(default=60.0, gt=0, description="of one attempt")
    max_retries: int = Field(default=2, ge=0, le=10, description="after rate limits, server errors and timeouts")
    retry_share: float = Field(
        default=0.2,
        ge=0.0,
        le=10.0,
        allow_inf_nan=False,
        description="retries by this process within a minute, as a share of its first attempts at the endpoint; beyond "
        "them a failure is not retried",
    )
    retry_least: int = Field(
        default=10, ge=0, le=1_000_000, description="retries within a minute that there may be besides"
    )
    rest_after_failures: int = Field(
        default=5, ge=0, le=1000, description="of attempts in a row, after which it is not asked for a while; 0: never"
    )
    rest_s: float = Field(
        default=30.0, gt=0, le=3600, description="of that while; it doubles each time that the endpoint fails after it"
    )
    max_output_tokens: int = Field(default=512, ge=1, description="of one answer")
    concurrency: int | None = Field(
        default=None, ge=1, le=10_000, description="calls of this process at a time; others wait; none: any number"
    )
    temperature: float | None = Field(default=None, ge=0.0, le=2.0, description="not sent if left out")
    logprobs: bool = Field(
        default=False, description="ask for the tokens' log-probabilities, where the endpoint knows them, to check by"
    )


class ConversationSettings(_Section):
    """The model that helps with conversations, where `follow_ups` or `earlier_turns` is `model`."""

    tier: str | None = Field(default=None, description="one of the tiers, by name; default: the cheapest")
    timeout_s: float = Field(
        default=10.0, gt=0, le=600, description="of one call, and half of what the request has left; then rules do it"
    )
    question_tokens: int = Field(default=80, ge=16, le=4096, description="that a follow-up made whole may have")
    summary_tokens: int = Field(
        default=120, ge=16, le=4096, description="that a summary may have, within a quarter of `history_tokens`"
    )
    summary_input_tokens: int = Field(
        default=2000, ge=100, le=1_000_000, description="of turns that one call summarises; longer ones are cut"
    )
    summary_questions: int = Field(
        default=4,
        ge=1,
        le=100,
        description="to come, for which a summary is reckoned: it is made where carrying its turns whole for so many "
        "would cost more",
    )


class GenerationSettings(_Section):
    """The tiers: extractive is free and always there; the models are yours."""

    models: list[ModelSettings] = Field(
        default_factory=list, description="cheapest first; the last one is the strongest"
    )
    extractive_first: bool = Field(default=True, description="let the free tier answer when it is very sure")
    extractive_min_confidence: float = Field(
        default=0.5, ge=0.0, le=1.0, description="below it the free tier says nothing"
    )
    extractive_sure_confidence: float = Field(
        default=0.95, ge=0.0, le=1.0, description="from it on the free tier answers in a model's place"
    )
    router: str = Field(
        default="rules",
        description="which questions go to the strongest model at once: `rules`, `never`, or a file that "
        "`ragsaver route train` wrote",
    )
    router_min_quality: float | None = Field(
        default=None,
        gt=0.0,
        le=1.0,
        description="of a trained router: share of the strongest model's right answers to keep; default: the file's",
    )
    router_max_calls: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="of a trained router: share of questions that may go to the strongest model at once; default: the "
        "file's",
    )
    max_escalations: int = Field(
        default=1, ge=0, le=10, description="to the next tier, of an answer that fails the check"
    )
    min_logprob: float = Field(
        default=-1.0, le=0.0, description="mean of an answer's tokens below which it is not trusted (`logprobs`)"
    )
    fallback: Literal["up", "down", "none"] = Field(
        default="up",
        description="where a question goes whose endpoint failed: to the next tier up (from the strongest, down), only "
        "down, or nowhere",
    )
    links: Literal["given", "none", "all"] = Field(
        default="given",
        description="addresses and images that an answer may have: those that stand in its passages, its question or "
        "the conversation, none, or all",
    )
    follow_ups: Literal["rules", "model", "none"] = Field(
        default="rules",
        description="how a question that leans on those before it is made whole to look for it: by rules, or by a "
        "model where the rules see that it does",
    )
    earlier_turns: Literal["rules", "model"] = Field(
        default="rules",
        description="how turns are shortened that no longer stand whole in a prompt: to question and first sentence, "
        "or to a model's summary where that pays",
    )
    conversation: ConversationSettings = ConversationSettings()
    history_tokens: int = Field(
        default=800,
        ge=0,
        le=1_000_000,
        description="of the conversation in a prompt: the last turns whole, earlier ones shortened; 0 leaves it out",
    )
    short_answers: bool = Field(
        default=True,
        description="let answers to yes-or-no questions, and to those for a date, number, name or place, have half of "
        "the model's `max_output_tokens`, 192 at least",
    )
    stream_unchecked: bool = Field(
        default=False, description="stream a cheaper tier's answer at once; then it is not checked, and never escalated"
    )

    @model_validator(mode="after")
    def _tiers_have_names_of_their_own(self) -> Self:
        names = self.tier_names
        if len(set(names)) < len(names) or FREE_TIER in names:
            raise ValueError(f"two tiers have the same name: {', '.join((FREE_TIER, *names))}")
        return self

    @model_validator(mode="after")
    def _conversations_have_a_model(self) -> Self:
        wanted, known = self.conversation.tier, self.tier_names
        if self.asks_about_conversations and not known:
            raise ValueError("follow_ups and earlier_turns can be `model` only where `models` has one")
        if wanted is not None and wanted not in known:
            there = f"write one of {', '.join(known)}" if known else "there is no model"
            raise ValueError(f"`conversation.tier` ({wanted}) is none of the tiers: {there}")
        return self

    @property
    def asks_about_conversations(self) -> bool:
        """Whether a model helps with them."""
        return "model" in (self.follow_ups, self.earlier_turns)

    @property
    def tier_names(self) -> tuple[str, ...]:
        """Of the models, cheapest first."""
        last = len(self.models) - 1
        return tuple(model.tier or _tier_at(place, last) for place, model in enumerate(self.models))


def _tier_at(place: int, last: int) -> str:
    if place in (0, last):
        return "small" if place == 0 else "large"
    return "medium" if last == 2 else f"medium-{place}"


_LEAST_PER_S, _MOST_PER_S = Decimal("0.001"), 1_000_000_000


def usd_per_mtok(gpu_hour_usd: Decimal, tokens_per_s: Decimal) -> Decimal:
    """Dollars for a million tokens where GPUs do so many in a second, rounded up to a micro-dollar."""
    micro = Fraction(gpu_hour_usd) * 10**12 / (3600 * Fraction(tokens_per_s))
    return Decimal(math.ceil(micro)) / 10**6


class PriceSettings(_Section):
    """Dollars for a million tokens, or for an hour of GPUs of your own; overrides the price list."""

    input_per_mtok: Decimal | None = Field(default=None, ge=0, description="for tokens sent")
    output_per_mtok: Decimal | None = Field(default=None, ge=0, description="for tokens answered")
    cached_input_per_mtok: Decimal | None = Field(
        default=None, ge=0, description="for tokens that the provider had cached; default: as tokens sent"
    )
    cache_write_per_mtok: Decimal | None = Field(
        default=None, ge=0, description="for tokens that the provider was to cache; default: as tokens sent"
    )
    gpu_hour_usd: Decimal | None = Field(
        default=None,
        gt=0,
        le=1_000_000,
        description="for an hour of all GPUs that serve the model, in place of all prices above",
    )
    input_tokens_per_s: Decimal | None = Field(
        default=None,
        ge=_LEAST_PER_S,
        le=_MOST_PER_S,
        description="that they read, of all requests together, while they write nothing",
    )
    output_tokens_per_s: Decimal | None = Field(
        default=None,
        ge=_LEAST_PER_S,
        le=_MOST_PER_S,
        description="that they write, for all requests together, while they read nothing",
    )

    @model_validator(mode="after")
    def _priced_in_one_way(self) -> Self:
        by_hour = (self.gpu_hour_usd, self.input_tokens_per_s, self.output_tokens_per_s)
        by_token = (self.input_per_mtok, self.output_per_mtok)
        others = (self.cached_input_per_mtok, self.cache_write_per_mtok)
        if by_hour == (None, None, None):
            if None in by_token:
                raise ValueError(
                    "needs input_per_mtok and output_per_mtok, or gpu_hour_usd with input_tokens_per_s and "
                    "output_tokens_per_s"
                )
        elif any(price is not None for price in by_token + others):
            raise ValueError("takes prices for a million tokens, or gpu_hour_usd with tokens per second, not both")
        elif None in by_hour:
            raise ValueError("gpu_hour_usd, input_tokens_per_s and output_tokens_per_s are needed together")
        return self


class BudgetSettings(_Section):
    """What may be spent on language models by whom in a calendar period (UTC). It is never passed."""

    scope: Literal["total", "tenant", "principal", "pipeline"] = Field(description="who spends")
    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="of the tenant or pipeline; of a principal `TENANT/PRINCIPAL`; default: each has as much",
    )
    period: Literal["hour", "day", "month"] = Field(description="after which it begins anew")
    limit_usd: Decimal = Field(ge=0, le=1_000_000_000, description="dollars in one period")

    @model_validator(mode="after")
    def _total_has_no_name(self) -> Self:
        if self.scope == "total" and self.name is not None:
            raise ValueError("a budget of scope total takes no name")
        return self


_Bound = Annotated[float, Field(gt=0, le=1)]


class PacingSettings(_Section):
    """What is given up as a budget is used up faster than its period passes. Bounds are pressures, 0 to 1; a rung whose
    bound is null is left out.
    """

    enabled: bool = Field(default=True, description="without it a budget is full service until it is used up")
    slack: float = Field(
        default=0.1, ge=0, lt=1, description="share of a budget that may go at once when its period begins"
    )
    no_rerank_from: _Bound | None = Field(
        default=0.2, description="from which a reranker that costs money is not asked"
    )
    no_escalation_from: _Bound | None = Field(
        default=0.3, description="from which no answer that fails its check goes to a dearer model"
    )
    small_from: _Bound | None = Field(
        default=0.5,
        description="from which only the cheapest model is asked; till then the share of questions that go to the "
        "strongest one falls to none",
    )
    extractive_from: _Bound | None = Field(default=0.8, description="from which no model is asked")
    cached_from: _Bound | None = Field(default=0.95, description="from which only answers that are cached are given")
    refused_from: _Bound | None = Field(default=1.0, description="from which none are: 1 is a budget that is used up")

    @model_validator(mode="after")
    def _the_ladder_goes_down(self) -> Self:
        ladder = (self.no_rerank_from, self.small_from, self.extractive_from, self.cached_from, self.refused_from)
        bounds = [bound for bound in ladder if bound is not None]
        if bounds != sorted(bounds):
            raise ValueError("each rung's bound must be at least the one before it")
        return self


class FuseSettings(_Section):
    """Stops a tenant's calls for a while when its last minutes cost far more than is usual for it."""

    enabled: bool = Field(default=True, description="stop loops and runaways before they use up a budget")
    times: float = Field(default=10.0, ge=1, le=10_000, description="what is usual, beyond which a tenant's fuse blows")
    floor_usd: Decimal = Field(
        default=Decimal(5), gt=0, le=1_000_000_000, description="dollars that a window may always cost"
    )
    window_s: int = Field(default=300, ge=10, le=3600, description="that is compared with what is usual")
    pause_s: int = Field(
        default=300,
        ge=10,
        le=86_400,
        description="for which nothing is called; then a tenth of the limit tries whether it is over",
    )


class SpendSettings(_Section):
    """Prices, budgets, and what savings are compared with."""

    prices: dict[str, PriceSettings] = Field(
        default_factory=dict, description="by model name; they win over the price list"
    )
    unknown_price: Literal["upper_bound", "refuse"] = Field(
        default="upper_bound",
        description="of a model that is on no price list: it costs `upper_price`, or it is not asked",
    )
    upper_price: PriceSettings | None = Field(
        default=None, description="of such a model; default: of the dearest on the price list"
    )
    budgets: list[BudgetSettings] = Field(
        default_factory=list, description="one that has a name goes before one of the same scope and period without"
    )
    pacing: PacingSettings = PacingSettings()
    fuse: FuseSettings = FuseSettings()
    prompt_margin: float = Field(
        default=0.25,
        ge=0,
        le=10,
        description="share by which an endpoint may count more tokens of a prompt than the shipped tokenizer",
    )
    hold_quantile: float = Field(
        default=0.99,
        gt=0.5,
        lt=1,
        description="of a model's answers that are no longer than a call may be where a budget is short",
    )
    embedding_per_mtok: Decimal = Field(
        default=Decimal(0), ge=0, description="dollars for embedding a million tokens; 0 on a machine of your own"
    )
    embedding_gpu_hour_usd: Decimal | None = Field(
        default=None, gt=0, le=1_000_000, description="dollars for an hour of a GPU that embeds, in place of that"
    )
    embedding_tokens_per_s: Decimal | None = Field(
        default=None, ge=_LEAST_PER_S, le=_MOST_PER_S, description="that this GPU embeds"
    )
    storage_per_gb_month: Decimal = Field(
        default=Decimal(0), ge=0, description="dollars for keeping a GB of vectors and payload for a month"
    )
    baseline_model: str | None = Field(
        default=None, description="the model that savings are priced against; default: the largest configured"
    )
    baseline_passages: int = Field(default=10, ge=1, le=100, description="whole passages that the baseline sends")

    @model_validator(mode="after")
    def _embedding_is_priced_in_one_way(self) -> Self:
        hour, rate = self.embedding_gpu_hour_usd, self.embedding_tokens_per_s
        if hour is None and rate is None:
            return self
        if hour is None or rate is None:
            raise ValueError("embedding_gpu_hour_usd and embedding_tokens_per_s are needed together")
        price = usd_per_mtok(hour, rate)
        # the same price is what settings say that were written out and are read again
        if "embedding_per_mtok" in self.model_fields_set and self.embedding_per_mtok != price:
            raise ValueError("takes embedding_per_mtok, or embedding_gpu_hour_usd with tokens per second, not both")
        object.__setattr__(self, "embedding_per_mtok", price)  # the only place that knows both
        return self


class QuerySettings(_Section):
    """Limits on a question."""

    max_question_chars: int = Field(default=8000, ge=1, le=1_000_000, description="longer questions are refused")
    max_history_chars: int = Field(
        default=32_000, ge=0, le=10_000_000, description="of earlier turns together; longer conversations are refused"
    )
    pipeline: str = Field(default="query", description="asked where none is named")


class CacheSettings(_Section):
    """What was answered, found or embedded for a question once is not made again."""

    backend: Literal["memory", "sqlite", "redis"] = Field(
        default="sqlite", description="in each process, in files under `home`, or in a fleet's Redis"
    )
    redis_url: SecretStr | None = Field(default=None, description="default: the variable REDIS_URL")
    answers: Literal["off", "exact", "semantic"] = Field(
        default="exact",
        description="`exact` answers the same question again; `semantic` also one that asks the same in other words",
    )
    retrieval: bool = Field(default=True, description="keep what a question found, until the collection changes")
    embeddings: bool = Field(default=True, description="keep questions' vectors")
    ttl_s: float = Field(default=86_400.0, gt=0, le=31_536_000, description="for which an answer is kept at most")
    abstention_ttl_s: float = Field(
        default=600.0, ge=0, le=31_536_000, description="for which it is kept that there is no answer; 0: it is not"
    )
    outlive_additions: bool = Field(
        default=True,
        description="an answer falls with the documents it was made from; false: with any change of the collection",
    )
    max_entries: int = Field(
        default=100_000, ge=1, le=100_000_000, description="of answers, and as many of the rest; unused ones go first"
    )
    max_mb: int = Field(
        default=256,
        ge=1,
        le=1_000_000,
        description="of answers, and as many of the rest; in Redis its own `maxmemory` counts",
    )
    wait_s: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="for which a question waits for the same one that is being answered; then it is answered beside it",
    )


class ServerSettings(_Section):
    """Where `ragsaver serve` listens, and whom it lets in."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8765, ge=0, le=65_535, description="0 takes a free one")
    max_body_mb: int = Field(default=16, ge=1, le=1024, description="larger requests are refused")
    require_key: bool | None = Field(
        default=None,
        description="ask for an API key: null as soon as there is one, false never on this machine; "
        "on any other address always",
    )
    allowed_hosts: list[str] = Field(
        default_factory=list,
        description="names besides this machine's own that a server without keys may be called by",
    )
    rate_limit: str | None = Field(
        default=None, pattern=_RATE, description="requests of one key: 100/minute; per second, minute, hour or day"
    )
    rate_limit_redis_url: SecretStr | None = Field(
        default=None, description="where several servers count them together; default: each counts its own"
    )
    concurrency: int | None = Field(
        default=None, ge=1, le=10_000, description="requests of one key that this server works on at a time"
    )
    loop_guard: str | None = Field(
        default=None,
        pattern=_RATE,
        description="how often one asker may have the same question answered anew: 20/minute; each server counts its "
        "own, and no answer from a cache",
    )

    _only_redis = field_validator("rate_limit_redis_url")(_of_redis)


class LoggingSettings(_Section):
    """What is written down of requests, and what is kept of what was said in them."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="from which on lines are written; each request has one of level info"
    )
    format: Literal["text", "json"] = Field(default="text", description="of the lines; for people, or for programs")
    file: Path | None = Field(
        default=None, description="where the lines go, those of commands too; default: a server's go to stderr"
    )
    content: Literal["none", "hashed", "redacted", "full"] = Field(
        default="none", description="of questions, contexts and answers, what is kept in a file under `home`"
    )
    sample: float = Field(
        default=1.0, ge=0.0, le=1.0, description="share of the requests whose content is kept; the request id decides"
    )
    retention_days: int = Field(default=30, ge=1, le=36_500, description="after which kept content is removed")


class Settings(_Section):
    """The whole tree."""

    home: Path = Field(default=Path(".ragsaver"), description="all state lives here")
    pipelines_dir: Path = Field(default=Path("pipelines"), description="the project's own YAML")
    tenant: str = Field(default="default", pattern=_NAME, description="whose documents commands work on")
    collection: str = Field(default="default", pattern=_NAME, description="where commands look if none is named")
    groups: list[str] = Field(
        default_factory=list, description="that questions are asked in the name of: what names others is not found"
    )
    allow_modules: list[str] = Field(
        default_factory=list, description="modules of your own whose components a pipeline may load"
    )
    embedding: EmbeddingSettings = EmbeddingSettings()
    embedding_cache: EmbeddingCacheSettings = EmbeddingCacheSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    ingestion: IngestionSettings = IngestionSettings()
    outline: OutlineSettings = OutlineSettings()
    lifecycle: LifecycleSettings = LifecycleSettings()
    queue: QueueSettings = QueueSettings()
    database: DatabaseSettings = DatabaseSettings()
    sources: SourcesSettings = SourcesSettings()
    index: IndexSettings = IndexSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    rerank: RerankSettings = RerankSettings()
    context: ContextSettings = ContextSettings()
    generation: GenerationSettings = GenerationSettings()
    spend: SpendSettings = SpendSettings()
    query: QuerySettings = QuerySettings()
    cache: CacheSettings = CacheSettings()
    server: ServerSettings = ServerSettings()
    logging: LoggingSettings = LoggingSettings()


def usable_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def environment(name: str) -> str | None:
    """One variable that belongs to another tool's convention (`NO_COLOR`, `OPENAI_API_KEY`)."""
    return os.environ.get(name)


def quiet_haystack() -> None:
    """Turn Haystack's telemetry off, unless the operator decided about it; call before importing Haystack."""
    os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")


def is_redis(url: str) -> bool:
    """Whether a broker's address is one of Redis."""
    return url.startswith(("redis://", "rediss://"))


def is_postgres(url: str) -> bool:
    """Whether it is the address of a PostgreSQL's database."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "postgresql" and len(parts.path) > 1 and parts.port != 0 and not parts.fragment
    except ValueError:
        return False
