"""The tables of the ledger. Money is in whole micro-dollars, moments in seconds since the epoch."""

import sqlalchemy as sa

from ragsaver.dialects import LongInteger, Words

metadata = sa.MetaData()

# The task, and the tier, of what an ingestion embeds: it is no call of a language model.
INGEST = "ingest"


def _asked() -> list[sa.Column[str]]:
    return [
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("principal", sa.String),
        sa.Column("pipeline", sa.String),
    ]


def _account() -> list[sa.Column[str]]:
    return [
        *_asked(),
        sa.Column("tier", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("task", sa.String, nullable=False),
    ]


# One scope in one period. What is reserved is the sum of the leases, what is spent that of the entries.
windows = sa.Table(
    "windows",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("period", sa.String, nullable=False),
    sa.Column("starts", LongInteger, nullable=False),
    sa.Column("ends", LongInteger, nullable=False),
    sa.Column("spent", LongInteger, nullable=False),
    sa.Column("reserved", LongInteger, nullable=False),
    sa.CheckConstraint("spent >= 0 AND reserved >= 0"),
    sa.Index("windows_by_period", "period", "starts"),
)

# Calls that run, or whose process died.
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    *_account(),
    sa.Column("ceiling", sa.Boolean, nullable=False),
    sa.Column("reserved_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False, index=True),
    sa.Column("held", LongInteger, nullable=False),
    sa.Column("prompt_tokens", LongInteger, nullable=False),
    sa.Column("output_tokens", LongInteger, nullable=False),
    sa.Column("prices", sa.String, nullable=False),
)

# Every charge, in the order in which they were known; nothing is changed or removed. One that was put too high is
# followed by its correction, `number` 1, which is negative.
entries = sa.Table(
    "entries",
    metadata,
    sa.Column("id", LongInteger, primary_key=True, autoincrement=True),
    sa.Column("lease_id", sa.String, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    *_account(),
    sa.Column("ceiling", sa.Boolean, nullable=False),
    sa.Column("reserved_at", sa.Float, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("outcome", sa.String, nullable=False),
    sa.Column("fresh", LongInteger, nullable=False),
    sa.Column("cache_read", LongInteger, nullable=False),
    sa.Column("cache_write", LongInteger, nullable=False),
    sa.Column("output", LongInteger, nullable=False),
    sa.Column("reasoning", LongInteger, nullable=False),
    sa.Column("estimated", sa.Boolean, nullable=False),
    sa.Column("cost", LongInteger, nullable=False),
    sa.Column("saved", LongInteger, nullable=False),
    sa.Column("prices", sa.String, nullable=False),
    sa.UniqueConstraint("lease_id", "number"),
    sa.Index("entries_by_time", "reserved_at"),
    sa.Index("entries_by_request", "request_id"),
)

# Callers choose the ids of their requests, so one may come again: the last one counts.
receipts = sa.Table(
    "receipts",
    metadata,
    sa.Column("id", LongInteger, primary_key=True, autoincrement=True),
    *_asked(),
    sa.Column("at", sa.Float, nullable=False, index=True),
    sa.Column("complete", sa.Boolean, nullable=False),
    sa.Column("receipt", Words, nullable=False),
    sa.Index("receipts_by_request", "request_id"),
)

# How long a model's answers are: how many there were of each size, the sizes growing by a fifth.
lengths = sa.Table(
    "lengths",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("counts", sa.JSON, nullable=False),
    sa.Column("prompt_factor", sa.Float, nullable=False),
)


def of_ingestion(table: sa.Table, tenant: str, request_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    """What chooses an ingestion's rows, or a document's of a job.

    :param table: `leases` or `entries`.
    """
    return (table.c.request_id == request_id, table.c.tenant == tenant, table.c.task == INGEST)
