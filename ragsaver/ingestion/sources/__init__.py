"""Which documents are there? Files, objects, pages and texts, each with a name that stays the same between runs."""

from ragsaver.ingestion.sources.files import SourceFile, find_sources
from ragsaver.ingestion.sources.item import PostedDocument, SourceItem
from ragsaver.ingestion.sources.listing import list_sources
from ragsaver.ingestion.sources.walk import source_name
from ragsaver.ingestion.sources.watching import watch

__all__ = [
    "PostedDocument",
    "SourceFile",
    "SourceItem",
    "find_sources",
    "list_sources",
    "source_name",
    "watch",
]
