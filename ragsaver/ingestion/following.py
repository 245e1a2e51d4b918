"""Bring a new half to where the old manifest is: what came in there, changed, or went."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ragsaver.caching.opening import partition_of
from ragsaver.index.scope import Scope
from ragsaver.ingestion.half import carry_over
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.manifest import DocumentRecord, Manifest
from ragsaver.ingestion.migration_report import RunTally
from ragsaver.ingestion.report import Progress
from ragsaver.ingestion.rereading import item_again
from ragsaver.ingestion.sources import SourceItem
from ragsaver.ingestion.summarising import Summaries
from ragsaver.settings import LifecycleSettings, Settings

# Passes over the documents until none came in meanwhile; the last one is made while nobody writes the old half.
_PASSES = 3

Tell = Callable[[Progress], None]


def without_limits(settings: Settings) -> Settings:
    """Settings by which a half is filled: what is in comes over, so it is no growth and has not just come in."""
    return settings.model_copy(update={"lifecycle": LifecycleSettings()})


@dataclass(frozen=True, slots=True)
class Follower:
    """A half that is brought to where the old manifest is.

    :param new: its manifest.
    :param ingestor: the way into it, by the settings `without_limits`.
    :param summaries: get what the old outlines say.
    """

    settings: Settings
    new: Manifest
    ingestor: Ingestor
    summaries: Summaries | None = None

    def follow(self, old: Manifest, tally: RunTally, progress: Tell | None = None) -> str:
        """Pass over the documents until the half is up to date, or for a few times.

        :param tally: gets what the passes did.
        :param progress: called as it goes; what it raises stops it.
        :returns: the state of the old manifest that the half has reached.
        """
        for _ in range(_PASSES):
            state = old.state()
            self._pass(old, tally, progress)
            if old.state() == state:
                break
        return state

    def _pass(self, old: Manifest, tally: RunTally, progress: Tell | None) -> None:
        new = self.new
        tally.begin_pass()
        for scope in dict.fromkeys((*old.scopes(), *new.scopes())):
            records = old.documents(scope)
            gone = [record for source, record in new.documents(scope).items() if source not in records]
            self._bring_summaries(old, scope, records)
            items = items_again(records, old, self.settings)
            report = self.ingestor.ingest_items(items, scope, gone=gone, progress=progress)
            carry_over(old, new, scope)
            tally.add(len(records), report, sorted(records.keys() - new.documents(scope).keys()))
        new.tombstones.become(old.tombstones)

    def _bring_summaries(self, old: Manifest, scope: Scope, records: Mapping[str, DocumentRecord]) -> None:
        """What the old outlines say is in the cache from now on, so that the new ones say it without being paid for."""
        if self.summaries is not None:
            partition = partition_of(scope.tenant, self.settings.embedding_cache)
            made = old.outlines([record.id for record in records.values()])
            self.summaries.remember(
                partition,
                {line.summarised: line.sentence for one in made.values() for line in one.lines if line.summarised},
            )


def items_again(records: Mapping[str, DocumentRecord], old: Manifest, settings: Settings) -> list[SourceItem]:
    """The documents of the old half that can still be read."""
    return [item for record in records.values() if (item := item_again(record, old, settings))]


def too_many_missing(tally: RunTally, drop_missing: bool) -> str | None:
    """Why a half is not used that lacks documents; None if it may be."""
    if not tally.missing or drop_missing:
        return None
    return (
        f"{len(tally.missing)} documents can't be read any more, so the old index stays in use. Bring them back or "
        "delete them (`ragsaver documents delete`), and run it again; --drop-missing switches without them"
    )
