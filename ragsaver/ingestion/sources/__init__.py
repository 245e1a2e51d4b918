"""Which documents are there? Files, objects, pages and texts, each with a name that stays the same between runs."""

from ragsaver.ingestion.sources.files import SourceFile, find_sources
from ragsaver.ingestion.sources.item import PostedDocument, SourceItem
from ragsaver.ingestion.sources.listing import item_at, list_sources, location_of
from ragsaver.ingestion.sources.walk import source_name
from ragsaver.ingestion.sources.watching import watch

__all__ = [
    "PostedDocument",
    "SourceFile",
    "SourceItem",
    "find_sources",
    "item_at",
    "list_sources",
    "location_of",
    "source_name",
    "watch",
]
