"""Which outlines does a batch of changes make? They are worked out from what the batch has, and from vectors that the
index has already: nothing is embedded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ragsaver.errors import UsageError
from ragsaver.index.protocol import VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.ingestion.manifest import DocumentRecord, Manifest
from ragsaver.ingestion.outlines import Outline, deciding, outline, render
from ragsaver.ingestion.planning import Change
from ragsaver.ingestion.report import OutlineReport

# What the gates take for another configuration.
LACKING = "no outline"


def outline_report(
    manifest: Manifest, scope: Scope, source: str, budget_tokens: int, count: Callable[[Sequence[str]], list[int]]
) -> OutlineReport:
    """A document's outline, and as text.

    :param budget_tokens: ceiling for the text; 0 for no ceiling.
    :param count: tokens of each of some texts.
    :raises UsageError: if there is no such document, or it has no outline yet.
    """
    found = manifest.outline(scope, source)
    if found is None:
        raise UsageError(
            "there is no outline of a document by this name",
            where=source,
            remedy=f"Ingest it into the collection `{scope.collection}`, or name it as `ragsaver search` shows it",
        )
    text = render(found, budget_tokens, lambda some: count([some])[0])
    return OutlineReport(source=source, title=found.title, text=text, lines=found.lines)


class Outliner:
    """Makes outlines; the manifest keeps them."""

    def __init__(self, index: VectorIndex, manifest: Manifest) -> None:
        self._index = index
        self._manifest = manifest

    def outlines(
        self, scope: Scope, batch: Sequence[Change], vectors: Mapping[str, NDArray[np.float32]]
    ) -> dict[str, Outline]:
        """The outlines of the new versions, by document.

        :param vectors: of the batch's new chunks, by what was embedded; those of chunks that stay are in the index.
        """
        old = [change.record.id for change in batch if change.old]
        before = self._manifest.outlines(old) if old else {}
        staying = {
            one.id: one.prints.embedded
            for change in batch
            if change.old
            for one in deciding(change.chunks, before.get(change.record.id))
            if one.prints.embedded not in vectors
        }
        there = self._index.vectors(scope, list(staying)) if staying else {}
        known = {**vectors, **{staying[point]: vector for point, vector in there.items()}}
        return {
            change.record.id: outline(
                str(change.chunks[0].payload["title"]), change.chunks, known, before.get(change.record.id)
            )
            for change in batch
        }

    def to_do(self, scope: Scope, known: Mapping[str, DocumentRecord]) -> dict[str, DocumentRecord]:
        """What the manifest has, by source; a document without an outline counts as stale, so that it gets one."""
        outlined = self._manifest.outlined(scope)
        return {
            source: record if record.id in outlined else replace(record, config=LACKING)
            for source, record in known.items()
        }
