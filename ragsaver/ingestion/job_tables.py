"""The tables of the job store: jobs with documents and bills, how far the lines are, texts that are being embedded."""

from typing import Any

import sqlalchemy as sa

from ragsaver.dialects import AnyText, LongInteger, Steps, Words, add_column

SCHEMA = 5

metadata = sa.MetaData()

# Of documents that are written together: others wait meanwhile.
ROWS = 1000


def _where(condition: sa.ColumnElement[bool]) -> dict[str, Any]:
    """For an index on the rows of which this is so, in either database."""
    return {"sqlite_where": condition, "postgresql_where": condition}


jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("priority", sa.String, nullable=False),
    sa.Column("order", sa.JSON, nullable=False),
    sa.Column("listed", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False, index=True),
)

# A document that waits stands in its line and has a round; `due_at` says when its message is taken for lost, 0 if it
# has none. One without a round is held, or put back: it is overdue from `due_at` on. Of one that has come to its end
# `due_at` says when it did, and `notes` what it lost on its way in.
documents = sa.Table(
    "documents",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("job_id", sa.String, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("priority", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("location", sa.String),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("format", sa.String),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("text", AnyText),
    sa.Column("checksum", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error", Words),
    sa.Column("holder", sa.String),
    sa.Column("round", LongInteger),
    sa.Column("due_at", sa.Float, nullable=False),
    sa.Column("staged", sa.LargeBinary),
    sa.Column("tokens", LongInteger, nullable=False),
    sa.Column("cached_tokens", LongInteger, nullable=False, server_default="0"),
    sa.Column("notes", sa.JSON(none_as_null=True)),
    sa.UniqueConstraint("job_id", "number"),
    sa.Index("documents_of_tenants", "tenant", "state", "priority", "round"),
)
sa.Index(
    "documents_in_line",
    documents.c.state,
    documents.c.priority,
    documents.c.round,
    documents.c.created_at,
    **_where(documents.c.round.isnot(None)),
)
sa.Index(
    "documents_told",
    documents.c.state,
    documents.c.due_at,
    documents.c.round,
    **_where(documents.c.round.isnot(None)),
)
sa.Index(
    "documents_held",
    documents.c.holder,
    **_where(documents.c.holder.isnot(None)),
)
sa.Index(
    "documents_away",
    documents.c.state,
    documents.c.due_at,
    documents.c.holder,
    documents.c.created_at,
    documents.c.round,
    **_where(documents.c.round.is_(None)),
)

lines = sa.Table(
    "lines",
    metadata,
    sa.Column("state", sa.String, primary_key=True),
    sa.Column("priority", sa.String, primary_key=True),
    sa.Column("round", LongInteger, nullable=False),
    sa.Column("passed", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

texts = sa.Table(
    "texts",
    metadata,
    sa.Column("partition", sa.String, primary_key=True),
    sa.Column("hash", sa.String, primary_key=True),
    sa.Column("holder", sa.String, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)

BILLED = ("calls", "input", "cached_input", "output", "saved_input", "saved_output")

# What a section of a job's document took; its `outcome` only gets better. `cost` is what its calls were charged, in
# micro-dollars; of a section that an earlier version billed nobody knows.
bills = sa.Table(
    "bills",
    metadata,
    sa.Column("document_id", sa.String, primary_key=True),
    sa.Column("section", sa.String, primary_key=True),
    sa.Column("job_id", sa.String, nullable=False),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("outcome", sa.String, nullable=False),
    *(sa.Column(name, LongInteger, nullable=False) for name in BILLED),
    sa.Column("cost", LongInteger),
    sa.Index("bills_of_jobs", "job_id"),
    sqlite_with_rowid=False,
)

# Files that a job left out for their kind, by suffix.
passed_over = sa.Table(
    "passed_over",
    metadata,
    sa.Column("job_id", sa.String, primary_key=True),
    sa.Column("suffix", sa.String, primary_key=True),
    sa.Column("files", LongInteger, nullable=False),
    sqlite_with_rowid=False,
)

STEPS: Steps = {
    2: lambda connection: add_column(connection, documents.c.cached_tokens),
    3: lambda connection: add_column(connection, documents.c.notes),
    4: lambda connection: add_column(connection, bills.c.cost),
}
