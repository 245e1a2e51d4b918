"""From what somebody wants ingested to a job with its documents and their messages."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType

from ragsaver.errors import BrokerUnavailable, UnreadableDocument, UsageError, VanishedDocument
from ragsaver.index.scope import Scope
from ragsaver.index.store import current_store
from ragsaver.ingestion.gates import printable, require_name
from ragsaver.ingestion.job_report import JobReport, State
from ragsaver.ingestion.jobs import JobStore
from ragsaver.ingestion.manifest import DocumentRecord, Manifest
from ragsaver.ingestion.named_by import Naming
from ragsaver.ingestion.opening import jobs_place, open_manifest
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.ordered import Listed, items_of
from ragsaver.ingestion.planner import plan_without_index, require_affordable
from ragsaver.ingestion.queued_document import NewDocument
from ragsaver.ingestion.report import PlanReport
from ragsaver.ingestion.sources import PostedDocument, SourceItem, require_sources
from ragsaver.ingestion.sources.listing import scheme
from ragsaver.ingestion.sources.lists import Lists
from ragsaver.ingestion.staging import Staged, pack
from ragsaver.ingestion.turns import Priority
from ragsaver.settings import Settings
from ragsaver.workers.app import CONVERT
from ragsaver.workers.broker import Broker
from ragsaver.workers.moves import Moved, nobody

_AT_A_TIME = 500


def open_jobs(settings: Settings) -> JobStore:
    """The job store of a project."""
    return JobStore(jobs_place(settings))


class IngestQueue:
    """The way in for documents that workers read.

    :param moved: told of the documents that were queued.
    :raises SettingsError: if no broker is named.
    :raises MissingExtra: if Celery is not installed.
    """

    def __init__(self, settings: Settings, moved: Moved = nobody) -> None:
        self._settings = settings
        self._moved = moved
        self.broker = Broker(settings)
        self.jobs = open_jobs(settings)

    def put(self, order: IngestOrder, scope: Scope, priority: Priority = Priority.NORMAL) -> JobReport:
        """Queue files, folders, objects and pages. With a limit on the cost they are read and cut here first.

        :raises UsageError: if a path is not there.
        :raises QueueFull, BrokerUnavailable, TooExpensive: nothing was taken then.
        """
        self.broker.check()
        passed_over: Counter[str] = Counter()
        lists: Lists = {}
        look = partial(items_of, order, self._settings, lambda: self._documents(scope))
        items = look(passed_over, lists)
        gone: list[DocumentRecord] = []
        if order.prune or order.include_expired or order.max_cost_usd is not None:
            known = self._documents(scope) if order.prune else {}  # before the list: what comes in since is not gone
            items = iter(listed := list(items))
            found = Listed(listed, passed_over, self._compared(scope, lists))
            gone = found.surely_gone(known, order, lambda: found._replace(items=list(look())))
            if order.max_cost_usd is not None:
                require_affordable(self._plan(listed, order, scope, gone), order.max_cost_usd)
            if order.include_expired:
                self._let_in(listed, scope)
        coming = chain(filter(None, (_new(item, order.checksum) for item in items)), map(_forgetting, gone))
        report = self._put(order, scope, priority, coming, passed_over)
        self._settle(order, scope, lists, [record.id for record in gone])
        return report

    def put_texts(
        self, documents: Sequence[PostedDocument], scope: Scope, priority: Priority = Priority.NORMAL
    ) -> JobReport:
        """Queue documents given as text.

        :raises UsageError: if a source is empty, holds a control character or is named twice.
        :raises QueueFull, BrokerUnavailable: nothing was taken then.
        """
        require_sources(documents)
        self.broker.check()
        return self._put(
            None,
            scope,
            priority,
            (NewDocument(one.source, format=one.format, metadata=one.metadata, text=one.text) for one in documents),
        )

    def report(self, job_id: str, tenant: str, *, limit: int = 1000, offset: int = 0) -> JobReport | None:
        """A job; None if the tenant has none of that name."""
        return self.jobs.report(job_id, tenant, self._settings.spend, limit=limit, offset=offset)

    def known(self, job_id: str, tenant: str) -> JobReport:
        """A job without its documents' progress.

        :raises UsageError: if the tenant has none of that name.
        """
        report = self.report(job_id, tenant, limit=0)
        if report is None:
            raise UsageError("there is no such job", where=job_id, remedy="`ragsaver jobs list` shows those there are")
        return report

    def close(self) -> None:
        """Let go of broker and store."""
        self.broker.close()
        self.jobs.close()

    def _put(
        self,
        order: IngestOrder | None,
        scope: Scope,
        priority: Priority,
        documents: Iterable[NewDocument],
        passed_over: Mapping[str, int] = MappingProxyType({}),
    ) -> JobReport:
        """
        :param passed_over: by suffix, complete once the documents have come.
        """
        coming = iter(documents)
        some = list(islice(coming, _AT_A_TIME))  # an empty folder is an error before there is a job
        limits = self._settings.queue
        job_id = self.jobs.create(
            scope,
            order,
            limits.max_waiting_documents,
            priority=priority,
            max_waiting_of_tenant=limits.max_waiting_documents_per_tenant,
        )
        number = 0
        while some:
            to_read = self.jobs.add(job_id, some, first=number, lease_s=limits.visibility_timeout_s)
            number += len(some)
            try:
                self.broker.send(CONVERT, to_read)
            except BrokerUnavailable:
                if number == len(some):
                    self.jobs.drop(job_id, scope.tenant)
                raise
            for state, count in Counter(one.state for one in some).items():
                self._moved(state, count)
            some = list(islice(coming, _AT_A_TIME))
        self.jobs.listed(job_id, passed_over)
        return self.known(job_id, scope.tenant)

    def _plan(
        self, items: Sequence[SourceItem], order: IngestOrder, scope: Scope, gone: Sequence[DocumentRecord]
    ) -> PlanReport:
        from ragsaver.pipelines.summariser import ChatSummariser  # Haystack takes two seconds to load

        asked = partial(ChatSummariser, self._settings) if self._settings.outline.summary_model else None
        return plan_without_index(
            self._settings,
            items,
            scope,
            gone=gone,
            checksum=order.checksum,
            include_expired=order.include_expired,
            summariser=asked,
        )

    def _documents(self, scope: Scope) -> dict[str, DocumentRecord]:
        with self._manifest() as manifest:
            return manifest.documents(scope)

    def _compared(self, scope: Scope, lists: Lists) -> Naming:
        """What these lists say, held against what they said before."""
        if not lists:
            return Naming()
        with self._manifest() as manifest:
            return manifest.named_by.compared(scope, lists)

    def _settle(self, order: IngestOrder, scope: Scope, lists: Lists, gone: Sequence[str]) -> None:
        """Remember what lists named, of which workers know nothing.

        :param gone: ids of documents that are queued to go.
        """
        if lists:
            with self._manifest() as manifest:
                naming = manifest.named_by.compared(scope, lists)
                manifest.named_by.settle(scope, naming, pruning=order.prune, gone=gone)

    def _let_in(self, items: Sequence[SourceItem], scope: Scope) -> None:
        """Tombstones of what is asked for are forgotten at once, so that workers let it in."""
        asked = {item.source for item in items}
        with self._manifest() as manifest:
            tombstones = manifest.tombstones.of(scope)
            manifest.tombstones.drop([one.document_id for source, one in tombstones.items() if source in asked])

    def _manifest(self) -> closing[Manifest]:
        return closing(open_manifest(self._settings, current_store(self._settings.home)))


def _forgetting(record: DocumentRecord) -> NewDocument:
    """What is not at its place now must not be there either when its turn comes; a file may be left out by patterns."""
    absent = record.location is not None and not os.path.lexists(record.location)
    staged = pack(Staged.forgetting(record, absent=absent))
    return NewDocument(record.source, record.location, state=State.EMBEDDED, staged=staged)


def _new(item: SourceItem, checksum: bool) -> NewDocument | None:
    """A document to read; what can't be read by anybody is told at once. None if it was removed since it was listed."""
    name = printable(item.source)
    try:
        require_name(item.source)
        if item.location and scheme(item.location) is None and not Path(item.location).is_file():
            item.read()
    except VanishedDocument:
        return None
    except UnreadableDocument as error:
        return NewDocument(name, state=State.FAILED, error=str(error))
    return NewDocument(item.source, item.location, item.version, item.format, item.metadata, checksum=checksum)
