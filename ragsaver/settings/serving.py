"""Questions, what is kept of their answers, and the server that takes them."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from ragsaver.settings.section import RATE, Section, named_place
from ragsaver.settings.urls import redis_only


class QuerySettings(Section):
    """Limits on a question."""

    max_question_chars: int = Field(default=8000, ge=1, le=1_000_000, description="longer questions are refused")
    max_history_chars: int = Field(
        default=32_000, ge=0, le=10_000_000, description="of earlier turns together; longer conversations are refused"
    )
    pipeline: str = Field(default="query", description="asked where none is named")
    deadline_s: float | None = Field(
        default=120.0,
        gt=0,
        le=86_400,
        description="after which nothing more is spent on a question; a request may set less. null for no limit",
    )


class CacheSettings(Section):
    """What was answered, found or embedded for a question once is not made again."""

    backend: Literal["memory", "sqlite", "redis"] = Field(
        default="sqlite",
        description="in each process, in files under `home`, or in a fleet's Redis; the last two outlive a process",
    )
    redis_url: SecretStr | None = Field(default=None, description="default: the variable REDIS_URL")
    answers: Literal["off", "exact", "semantic"] = Field(
        default="exact",
        description="`exact` answers the same question again; `semantic` also one that asks the same in other words, "
        "whichever process of those that share `backend` was asked it",
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


class ServerSettings(Section):
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
        default=None, pattern=RATE, description="requests of one key: 100/minute; per second, minute, hour or day"
    )
    rate_limit_redis_url: SecretStr | None = Field(
        default=None,
        description="where several servers count them together, and `concurrency` too; default: each counts its own",
    )
    concurrency: int | None = Field(
        default=None, ge=1, le=10_000, description="requests of one key that are worked on at a time"
    )
    loop_guard: str | None = Field(
        default=None,
        pattern=RATE,
        description="how often one asker may have the same question answered anew: 20/minute; each server counts its "
        "own, and no answer from a cache",
    )

    _only_redis = field_validator("rate_limit_redis_url")(redis_only)


class LoggingSettings(Section):
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

    _no_empty_place = field_validator("file", mode="before")(named_place)
