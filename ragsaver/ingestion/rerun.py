"""Was the same asked before, and was there nothing to do? Folders that look as they did then need not be listed."""

from collections.abc import Sequence

import xxhash

from ragsaver.index.scope import Scope
from ragsaver.ingestion.identity import metadata_hash
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.ordered import Listed
from ragsaver.ingestion.quiet import Quiet, QuietRuns, Run
from ragsaver.ingestion.sources import SourceItem
from ragsaver.ingestion.sources.trees import trees_of
from ragsaver.settings import Settings


class Rerun:
    """An order that may have been carried out before.

    :param made_with: what decides, beside the order and the documents, what a run does.
    :ivar trees: a digest of what lies under the order's places, where that is known without listing it.
    """

    def __init__(
        self, order: IngestOrder, scope: Scope, settings: Settings, runs: QuietRuns, made_with: Sequence[object]
    ) -> None:
        self._order = order
        self._scope = scope
        self._settings = settings
        self._runs = runs
        self._asked = _digest((*made_with, order.paths, str(order.cwd), order.prune, settings.sources.access))
        self._may_rest = runs.kept and not order.checksum and scope.collection not in settings.lifecycle.retention
        self.trees = self._look() if self._may_rest else None
        self._run = Run(self._asked, self.trees) if self.trees else None

    def at_a_glance(self) -> Quiet | None:
        """What the same run left as it was, of folders that looked the same; None if they have to be listed."""
        return self._runs.get(self._scope, self._run) if self._run else None

    def once_listed(self, listed: Listed) -> Quiet | None:
        """What the same run left as it was, of the same documents; None if they have to be looked at: it begins."""
        unsettled = listed.naming.fresh or (self._order.prune and listed.naming.outdated)
        if not self._may_rest or unsettled:
            self._run = None
        elif self.trees is None:
            found = digest_of(listed.items)
            self._run = Run(self._asked, found) if found else None
        if self._run is None:
            return None
        quiet = self._runs.get(self._scope, self._run)
        if quiet is None:
            self._runs.begin(self._scope, self._run)
        return quiet

    def left_alone(self, quiet: Quiet) -> None:
        """It has begun, and has changed nothing."""
        if self._run and (self.trees is None or self.trees == self._look()):  # as it was when it was listed
            self._runs.end(self._scope, self._run, quiet)

    def _look(self) -> str | None:
        order = self._order
        if order.include or order.exclude:
            return None
        return trees_of(order.paths, home=self._settings.home, cwd=order.cwd.resolve())


def digest_of(items: Sequence[SourceItem]) -> str | None:
    """What a run has found; None where only reading tells whether something changed."""
    if not all(item.version and item.location for item in items):
        return None
    return _digest("\n".join([f"{item.source}\0{item.location}\0{item.version}\0{_carried(item)}" for item in items]))


def _carried(item: SourceItem) -> str:
    """Its readers, for example: rules that change make it another run."""
    return metadata_hash(item.metadata) if item.metadata else ""


def _digest(told: object) -> str:
    text = told if isinstance(told, str) else repr(told)
    return xxhash.xxh3_128_hexdigest(text.encode(errors="surrogatepass"))
