"""Bring a new half to where the old manifest is: what came in there, changed, or went."""

from collections.abc import Callable, Mapping

from ragsaver.ingestion.half import carry_over
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.manifest import DocumentRecord, Manifest
from ragsaver.ingestion.migration_report import RunTally
from ragsaver.ingestion.report import Progress
from ragsaver.ingestion.rereading import item_again
from ragsaver.ingestion.sources import SourceItem
from ragsaver.settings import LifecycleSettings, Settings

# Passes over the documents until none came in meanwhile; the last one is made while nobody writes the old half.
_PASSES = 3

Tell = Callable[[Progress], None]


def without_limits(settings: Settings) -> Settings:
    """Settings by which a half is filled: what is in comes over, so it is no growth and has not just come in."""
    return settings.model_copy(update={"lifecycle": LifecycleSettings()})


def items_again(records: Mapping[str, DocumentRecord], old: Manifest, settings: Settings) -> list[SourceItem]:
    """The documents of the old half that can still be read."""
    return [item for record in records.values() if (item := item_again(record, old, settings))]


def follow(
    old: Manifest, new: Manifest, ingestor: Ingestor, settings: Settings, tally: RunTally, progress: Tell | None = None
) -> str:
    """Pass over the documents until the half is up to date, or for a few times.

    :param ingestor: of the new half, by settings `without_limits`.
    :param tally: gets what the passes did.
    :param progress: called as it goes; what it raises stops it.
    :returns: the state of the old manifest that the half has reached.
    """
    for _ in range(_PASSES):
        state = old.state()
        _pass(old, new, ingestor, settings, tally, progress)
        if old.state() == state:
            break
    return state


def too_many_missing(tally: RunTally, drop_missing: bool) -> str | None:
    """Why a half is not used that lacks documents; None if it may be."""
    if not tally.missing or drop_missing:
        return None
    return (
        f"{len(tally.missing)} documents can't be read any more, so the old index stays in use. Bring them back or "
        "delete them (`ragsaver documents delete`), and run it again; --drop-missing switches without them"
    )


def _pass(
    old: Manifest, new: Manifest, ingestor: Ingestor, settings: Settings, tally: RunTally, progress: Tell | None
) -> None:
    tally.begin_pass()
    for scope in dict.fromkeys((*old.scopes(), *new.scopes())):
        records = old.documents(scope)
        gone = [record for source, record in new.documents(scope).items() if source not in records]
        report = ingestor.ingest_items(items_again(records, old, settings), scope, gone=gone, progress=progress)
        carry_over(old, new, scope)
        tally.add(len(records), report, sorted(records.keys() - new.documents(scope).keys()))
