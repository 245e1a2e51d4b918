"""What many processes share: queue, workers, database."""

from typing import Self

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from ragsaver.settings.section import SCHEMA_NAME, Section
from ragsaver.settings.urls import is_postgres, redis_only


class ScalingSettings(Section):
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
    tokens_per_document: float = Field(
        default=7_500.0, gt=0, description="that a waiting document counts for, until some were embedded"
    )
    look_every_s: float = Field(default=5.0, gt=0, le=3600, description="how often a worker looks at its queues")

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.min_workers > self.max_workers:
            raise ValueError("min_workers is above max_workers")
        return self


class QueueSettings(Section):
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

    _only_redis = field_validator("broker_url")(redis_only)


class DatabaseSettings(Section):
    """Where manifest, jobs and ledger are kept: in files, or where workers on several machines share them."""

    url: SecretStr | None = Field(
        default=None,
        description="postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with `?sslmode=` or not; needs the extra "
        "`postgres`; default: SQLite files under `home`",
    )
    schema_name: str = Field(
        default="ragsaver",
        pattern=SCHEMA_NAME,
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
