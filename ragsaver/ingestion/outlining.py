"""Which outlines does a batch of changes make? They are worked out from what the batch has, and from vectors that the
index has already: nothing is embedded. A language model is asked for what it has not summarised before, where the
settings name one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ragsaver.errors import UsageError
from ragsaver.index.protocol import VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.ingestion.identity import readers
from ragsaver.ingestion.manifest import DocumentRecord, Manifest
from ragsaver.ingestion.outlines import Outline, deciding, outline, render
from ragsaver.ingestion.planning import Change
from ragsaver.ingestion.report import OutlineReport
from ragsaver.ingestion.summaries import Section, by_chunks, long_sections, unsummarised
from ragsaver.ingestion.summarising import Allowance, Bill, Charge, Summaries, Summarised
from ragsaver.spend.budgets import Account
from ragsaver.spend.till import on_account_of

# What the gates take for another configuration.
LACKING = "no outline"


def outline_report(
    manifest: Manifest, scope: Scope, source: str, budget_tokens: int, count: Callable[[Sequence[str]], list[int]]
) -> OutlineReport:
    """A document's outline, and as text.

    :param budget_tokens: ceiling for the text; 0 for no ceiling.
    :param count: tokens of each of some texts.
    :raises UsageError: if there is no such document, it has no outline yet, or the scope may not read it.
    """
    found = manifest.outline(scope, source) if _reads(manifest, scope, source) else None
    if found is None:
        raise UsageError(
            "there is no outline of a document by this name",
            where=source,
            remedy=f"Ingest it into the collection `{scope.collection}`, or name it as `ragsaver search` shows it",
        )
    text = render(found, budget_tokens, lambda some: count([some])[0])
    return OutlineReport(source=source, title=found.title, text=text, lines=found.lines)


def _reads(manifest: Manifest, scope: Scope, source: str) -> bool:
    """Whether a document is there for who asks."""
    record = manifest.document(scope, source)
    original = record and manifest.originals.get(record.id, record.generation)
    return record is not None and scope.reads(readers(original.metadata) if original else ())


class Outliner:
    """Makes outlines; the manifest keeps them.

    :param summaries: of sections; None where none are wanted.
    """

    def __init__(self, index: VectorIndex, manifest: Manifest, summaries: Summaries | None = None) -> None:
        self._index = index
        self._manifest = manifest
        self._summaries = summaries

    def outlines(
        self,
        scope: Scope,
        partition: str,
        batch: Sequence[Change],
        vectors: Mapping[str, NDArray[np.float32]],
        allowance: Allowance | None = None,
        bill: Bill | None = None,
    ) -> tuple[dict[str, Outline], Summarised]:
        """The outlines of the new versions, by document, and what summaries took.

        :param partition: of the caches that the scope may use.
        :param vectors: of the batch's new chunks, by what was embedded; those of chunks that stay are in the index.
        :param allowance: what summaries may cost.
        :param bill: told what each section's summary took.
        """
        before = self._before(batch)
        long = self._long(batch)
        wanted = [one for found, old in self._with_old(batch, long, before) for one in unsummarised(found, old)]
        texts: dict[str, str] = {}
        taken = Summarised()
        if self._summaries:
            with on_account_of(Account(scope.tenant)):
                texts, taken = self._summaries.of(partition, wanted, allowance, _by_document(batch, long, bill))
        staying = {
            one.id: one.prints.embedded
            for change in batch
            if change.old
            for one in deciding(change.chunks, before.get(change.record.id))
            if one.prints.embedded not in vectors
        }
        there = self._index.vectors(scope, list(staying)) if staying else {}
        known = {**vectors, **{staying[point]: vector for point, vector in there.items()}}
        made: dict[str, Outline] = {}
        for change, (found, old) in zip(batch, self._with_old(batch, long, before), strict=True):
            title = str(change.chunks[0].payload["title"])
            new = outline(title, change.chunks, known, old, by_chunks(found, texts))
            if self._summaries and not unsummarised(found, new):
                new = replace(new, summariser=self._summaries.name)
            made[change.record.id] = new
        return made, taken

    def to_do(self, scope: Scope, known: Mapping[str, DocumentRecord]) -> dict[str, DocumentRecord]:
        """What the manifest has, by source; a document that lacks its outline counts as stale, so that it gets one."""
        by = self._summaries.name if self._summaries and self._summaries.asks else None
        return to_outline(self._manifest, scope, known, by)

    def _before(self, batch: Sequence[Change]) -> dict[str, Outline]:
        old = [change.record.id for change in batch if change.old]
        return self._manifest.outlines(old) if old else {}

    def _long(self, batch: Sequence[Change]) -> list[list[Section]]:
        if self._summaries is None:
            return [[] for _ in batch]
        return [long_sections(change.chunks, self._summaries.settings) for change in batch]

    def _with_old(
        self, batch: Sequence[Change], long: Sequence[list[Section]], before: Mapping[str, Outline]
    ) -> Iterator[tuple[list[Section], Outline | None]]:
        for change, found in zip(batch, long, strict=True):
            yield found, before.get(change.record.id)


def _by_document(
    batch: Sequence[Change], long: Sequence[list[Section]], bill: Bill | None
) -> Callable[[Sequence[tuple[Section, Summarised]]], None]:
    """Bills sections by the documents that they stand in."""
    if bill is None:
        return lambda some: None
    of = {one.chunk_ids[0]: change.record.id for change, found in zip(batch, long, strict=True) for one in found}
    return lambda some: bill([Charge(of[one.chunk_ids[0]], one.chunk_ids[0], took) for one, took in some])


def to_summarise(manifest: Manifest, summaries: Summaries | None, partition: str, change: Change) -> list[Section]:
    """The sections that a language model would be asked for, were the change applied."""
    if summaries is None:
        return []
    record, found = change.record, long_sections(change.chunks, summaries.settings)
    old = manifest.outlines([record.id]).get(record.id) if change.old else None
    return summaries.lacking(partition, unsummarised(found, old))


def to_outline(
    manifest: Manifest, scope: Scope, known: Mapping[str, DocumentRecord], summariser: str | None
) -> dict[str, DocumentRecord]:
    """Some documents of a scope, by source; stale are those without an outline, or without summaries of this name."""
    source = next(iter(known)) if len(known) == 1 else None
    lacking = manifest.without_outline(scope, summariser, source)
    if not lacking:
        return dict(known)
    return {
        source: record._replace(config=LACKING) if record.id in lacking else record for source, record in known.items()
    }
