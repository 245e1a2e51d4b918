"""Which documents does an order mean? Those that are under its paths, and those that were and are gone."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set

from ragsaver.ingestion.manifest import DocumentRecord
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.sources import SourceItem, list_sources, location_of
from ragsaver.settings import Settings


def items_of(
    order: IngestOrder,
    settings: Settings,
    known: Callable[[], Mapping[str, DocumentRecord]],
    passed_over: Counter[str] | None = None,
) -> Iterator[SourceItem]:
    """The documents that are there.

    :param known: gives the documents that are in, by source; asked where a folder is empty and the order prunes.
    :param passed_over: counts files that were left out for their kind, by suffix.
    :raises UsageError: if a path is not there or holds nothing to read, and was not emptied to be pruned.
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
        may_be_empty=lambda location: order.prune and was_emptied(location, known().values()),
    )


def was_emptied(root: str, known: Iterable[DocumentRecord]) -> bool:
    """Whether a folder had documents and their files are gone. Files that are there and not found are left out by
    patterns, perhaps more of them than is meant.
    """
    locations = [record.location for record in known if record.location and _is_under(record.location, root)]
    return bool(locations) and not any(os.path.lexists(location) for location in locations)


def gone_from(
    known: Mapping[str, DocumentRecord], items: Sequence[SourceItem], order: IngestOrder
) -> list[DocumentRecord]:
    """Documents that were under the paths and are not found there any more.

    What lies below a folder or store that was found and can't be looked into may be there still.
    """
    present = {item.source for item in items}
    found = {item.location.rstrip("/") for item in items if item.location}
    roots = [location_of(path, order.cwd.resolve()) for path in order.paths]
    return [
        record
        for record in known.values()
        if record.location
        and record.source not in present
        and any(_is_under(record.location, root) for root in roots)
        and found.isdisjoint(_above(record.location))
    ]


def replaced_by(
    items: Sequence[SourceItem], known: Mapping[str, DocumentRecord], failed: Set[str] = frozenset()
) -> tuple[str, ...]:
    """Names under which a posted text stands where something read from its place stood, or the other way.

    :param failed: names of items that did not go in.
    """
    return tuple(
        item.source
        for item in items
        if (old := known.get(item.source)) is not None
        and (old.location is None) != (item.location is None)
        and item.source not in failed
    )


def _is_under(location: str, root: str) -> bool:
    return location == root or location.startswith(root.rstrip("/") + "/")


def _above(location: str) -> Iterator[str]:
    while "/" in location:
        location = location.rpartition("/")[0]
        yield location
