"""A document that is in, read once more: where it came from, or as it was posted."""

from ragsaver.ingestion.manifest import DocumentRecord, Manifest
from ragsaver.ingestion.sources import SourceItem, item_at
from ragsaver.settings import Settings


def item_again(record: DocumentRecord, manifest: Manifest, settings: Settings) -> SourceItem | None:
    """The document of a record; None if it is nowhere any more.

    :param manifest: the one that the record is of; it keeps posted texts.
    """
    item = item_at(record.source, record.location, settings.sources, settings.ingestion.max_file_mb * 2**20)
    if item is None:
        original = manifest.originals.get(record.id, record.generation)
        item = original.posted(record.source) if original else None
    return item
