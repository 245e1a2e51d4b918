"""Which documents does an order mean? Those that are under its paths, and those that were and are gone."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from ragsaver.ingestion.manifest import DocumentRecord
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.sources import SourceItem, list_sources, location_of
from ragsaver.settings import Settings


def items_of(order: IngestOrder, settings: Settings, passed_over: Counter[str] | None = None) -> Iterator[SourceItem]:
    """The documents that are there.

    :param passed_over: counts files that were left out for their kind, by suffix.
    :raises UsageError: if a path is not there or holds nothing to read.
    """
    return list_sources(
        order.paths,
        home=settings.home,
        cwd=order.cwd.resolve(),
        include=order.include,
        exclude=order.exclude,
        settings=settings.sources,
        max_bytes=settings.ingestion.max_file_mb * 2**20,
        passed_over=passed_over,
    )


def gone_from(
    known: Mapping[str, DocumentRecord], items: Sequence[SourceItem], order: IngestOrder
) -> list[DocumentRecord]:
    """Documents that were under the paths and are not found there any more."""
    present = {item.source for item in items}
    roots = [location_of(path, order.cwd.resolve()) for path in order.paths]
    return [
        record
        for record in known.values()
        if record.location
        and record.source not in present
        and any(record.location == root or record.location.startswith(root.rstrip("/") + "/") for root in roots)
    ]
