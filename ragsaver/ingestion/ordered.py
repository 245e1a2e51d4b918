"""Which documents does an order mean? Those that are under its paths, and those that were and are gone."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from ragsaver.index.scope import Scope
from ragsaver.ingestion.manifest import DocumentRecord, Manifest
from ragsaver.ingestion.named_by import Naming
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.sources import SourceItem, list_sources, location_of
from ragsaver.ingestion.sources.lists import Lists
from ragsaver.settings import Settings


def items_of(
    order: IngestOrder,
    settings: Settings,
    known: Callable[[], Mapping[str, DocumentRecord]],
    passed_over: Counter[str] | None = None,
    lists: Lists | None = None,
) -> Iterator[SourceItem]:
    """The documents that are there.

    :param known: gives the documents that are in, by source; asked where a folder is empty and the order prunes.
    :param passed_over: counts files that were left out for their kind, by suffix.
    :param lists: gets what lists of pages named.
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
        lists=lists,
        may_be_empty=lambda root, is_there: order.prune and was_emptied(root, known().values(), is_there),
    )


class Listed(NamedTuple):
    """What an order means now.

    :ivar passed_over: files that were left out for their kind, by suffix.
    :ivar naming: what lists of pages say.
    """

    items: list[SourceItem]
    passed_over: Counter[str]
    naming: Naming

    def gone(self, known: Mapping[str, DocumentRecord], order: IngestOrder) -> list[DocumentRecord]:
        """The documents that go by the order."""
        return gone_from(known, self.items, order, self.naming.unnamed) if order.prune else []

    def surely_gone(
        self, known: Mapping[str, DocumentRecord], order: IngestOrder, again: "Callable[[], Listed]"
    ) -> list[DocumentRecord]:
        """The same, without a file that has come to its old place since: that is no reason to forget it.

        :param again: looks once more; only where a file is there that was not found.
        """
        gone = self.gone(known, order)
        if not any(os.path.lexists(one.location) for one in gone if one.location):
            return gone
        still = {one.id for one in again().gone(known, order)}  # files that the order leaves out are there, too
        return [one for one in gone if one.id in still]


def look(order: IngestOrder, settings: Settings, manifest: Manifest, scope: Scope) -> Listed:
    """Look through the places of an order; the manifest stays as it is.

    :raises UsageError: if a path is not there or holds nothing to read, and was not emptied to be pruned.
    """
    passed_over: Counter[str] = Counter()
    lists: Lists = {}
    items = list(items_of(order, settings, lambda: manifest.documents(scope), passed_over, lists))
    return Listed(items, passed_over, manifest.named_by.compared(scope, lists))


def was_emptied(root: str, known: Iterable[DocumentRecord], is_there: Callable[[str], bool]) -> bool:
    """Whether a folder or store had documents and all of them are gone. Files that are there and not found are left
    out by patterns, perhaps more of them than is meant.
    """
    locations = [record.location for record in known if record.location and _is_under(record.location, root)]
    return bool(locations) and not any(map(is_there, locations))


def gone_from(
    known: Mapping[str, DocumentRecord],
    items: Sequence[SourceItem],
    order: IngestOrder,
    unnamed: Set[str] = frozenset(),
) -> list[DocumentRecord]:
    """Documents that were under the paths and are not found there any more, and those that no list names any more.

    What lies below a folder or store that was found and can't be looked into may be there still.

    :param unnamed: ids of documents that lists named and none does now.
    """
    present = {item.source for item in items}
    found = {item.location.rstrip("/") for item in items if item.location}
    roots = [location_of(path, order.cwd.resolve()) for path in order.paths]
    return [
        record
        for record in known.values()
        if record.location
        and record.source not in present
        and (
            record.id in unnamed
            or (any(_is_under(record.location, root) for root in roots) and found.isdisjoint(_above(record.location)))
        )
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
