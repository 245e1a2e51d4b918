"""Which documents are there? Files, objects, pages and texts, each with a name that stays the same between runs."""

from ragsaver.ingestion.sources.item import PostedDocument, SourceItem, require_sources
from ragsaver.ingestion.sources.listing import item_at, list_sources, location_of
from ragsaver.ingestion.sources.watching import watch

__all__ = [
    "PostedDocument",
    "SourceItem",
    "item_at",
    "list_sources",
    "location_of",
    "require_sources",
    "watch",
]
