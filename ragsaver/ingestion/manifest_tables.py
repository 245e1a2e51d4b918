"""The manifest's own tables: documents, changes of them under way, outlines, and how fast models embedded here."""

from collections.abc import Sequence

import sqlalchemy as sa

from ragsaver import dialects
from ragsaver.dialects import LongInteger
from ragsaver.ingestion.identity import Fingerprints, StoredFingerprints

metadata = sa.MetaData()


class _Chunks(sa.types.TypeDecorator[Sequence[Fingerprints]]):
    """A document's chunks as JSON, read once somebody wants them."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[Fingerprints] | None, dialect: sa.Dialect) -> str | None:
        return value if value is None else StoredFingerprints.of(value).text

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> StoredFingerprints | None:
        return value if value is None else StoredFingerprints(value)


documents = sa.Table(
    "documents",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("location", sa.String),
    sa.Column("size", LongInteger, nullable=False),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("content_hash", sa.String, nullable=False),
    sa.Column("metadata_hash", sa.String, nullable=False),
    sa.Column("config", sa.String, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("ingested_at", sa.Float, nullable=False),
    sa.Column("chunks", _Chunks, nullable=False),
    sa.UniqueConstraint("tenant", "collection", "source").ddl_if(dialect="sqlite"),
    # A source may be longer than what PostgreSQL keeps in an ordered index; ids are made of scope and source.
    sa.Index("documents_by_source", "source", postgresql_using="hash", info=dialects.only_in(dialects.POSTGRES)),
    sa.Index("documents_of_a_scope", "tenant", "collection", "id"),
    sa.Index("documents_by_content", "content_hash"),
)

intents = sa.Table(
    "intents",
    metadata,
    sa.Column("document_id", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("listed", sa.JSON, nullable=False),
    sa.Column("deleted", sa.JSON, nullable=False),
    sa.Column("payloads", sa.JSON, nullable=False),
)

outlines = sa.Table(
    "outlines",
    metadata,
    sa.Column("document_id", sa.String, primary_key=True),
    sa.Column("outliner", sa.String, nullable=False),
    sa.Column("outline", sa.JSON, nullable=False),
    sa.Index("outlines_by_outliner", "document_id", "outliner"),  # so that no outline is read to see that it is there
)

paces = sa.Table(
    "paces",
    metadata,
    sa.Column("model", sa.String, primary_key=True),
    sa.Column("tokens_per_s", sa.Float, nullable=False),
)
