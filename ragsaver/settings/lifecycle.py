"""How long documents stay, and how many there may be."""

from typing import Annotated

from pydantic import Field

from ragsaver.settings.section import NAME, Section


class RetentionSettings(Section):
    """What of a collection stays; what is not set is no reason to go. The longest unused documents go first."""

    max_age_days: float | None = Field(
        default=None, gt=0, description="since a document was brought in or changed; older ones go"
    )
    max_unused_days: float | None = Field(
        default=None, gt=0, description="since a document was last found by a question, or brought in"
    )
    max_documents: int | None = Field(default=None, ge=1, description="that stay")
    max_mb: float | None = Field(default=None, gt=0, description="that vectors and payload of what stays take")


class QuotaSettings(Section):
    """How much a tenant may have in all its collections; documents beyond it are refused by name, the rest goes in."""

    max_documents: int | None = Field(default=None, ge=0, description="of a tenant")
    max_chunks: int | None = Field(default=None, ge=0, description="of a tenant's documents")
    max_mb: float | None = Field(default=None, ge=0, description="that vectors and payload of a tenant take")


class LifecycleSettings(Section):
    """How a corpus is kept small. Retention is applied after each ingestion and by `ragsaver documents expire`."""

    retention: dict[Annotated[str, Field(pattern=NAME)], RetentionSettings] = Field(
        default_factory=dict, description="by collection"
    )
    quota: QuotaSettings = QuotaSettings()
    cold_after_days: float = Field(
        default=30.0, gt=0, description="a document that no question found for so long is reported as cold"
    )
    note_uses_every_s: float = Field(
        default=5.0, gt=0, le=3600, description="what questions found is written down together, no more often than this"
    )
