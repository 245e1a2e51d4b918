"""Guarded processes that cut documents, within the limits of the settings. They start with the first document."""

from ragsaver.ingestion.guard import GuardedPool
from ragsaver.ingestion.preparing import Prepared, Raw, prepare
from ragsaver.settings import IngestionSettings, usable_cores


def cutters(limits: IngestionSettings, workers: int | None = None) -> GuardedPool[Raw, Prepared]:
    """The processes; the caller closes them.

    :param workers: how many at most; `ingestion.convert_workers` if None, or one for each core that may be used.
    """
    return GuardedPool(
        prepare,
        workers=workers or limits.convert_workers or usable_cores(),
        timeout_s=limits.convert_timeout_s,
        memory_mb=limits.convert_memory_mb,
    )
