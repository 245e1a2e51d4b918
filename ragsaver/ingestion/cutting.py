"""How the settings say that documents are cut, and the guarded processes that do it: they start with the first one.

Apart from `preparing`, so that those processes need not load the settings to start.
"""

from ragsaver.ingestion.converters.limits import ConversionLimits
from ragsaver.ingestion.guard import GuardedPool
from ragsaver.ingestion.preparing import Prepared, Raw, Recipe, prepare
from ragsaver.settings import IngestionSettings, Settings, usable_cores


def cutters(limits: IngestionSettings, workers: int | None = None) -> GuardedPool[Raw, Prepared]:
    """The processes; the caller closes them.

    :param workers: how many at most; `ingestion.convert_workers` if None, or as many as there are cores for.
    """
    most = workers or limits.convert_workers
    return GuardedPool(
        prepare,
        workers=most or usable_cores(),
        timeout_s=limits.convert_timeout_s,
        memory_mb=limits.convert_memory_mb,
        cores=None if most else usable_cores(),
        still_to_read=lambda raw: 0 if isinstance(raw.data, bytes) else raw.size,
    )


def recipe_of(settings: Settings, model: str) -> Recipe:
    """The recipe that the settings mean.

    :param model: fingerprint of the embedding model.
    """
    cut, limits = settings.chunking, settings.ingestion
    return Recipe(
        model=model,
        min_words=cut.min_words,
        max_words=cut.max_words,
        embed_headings=cut.embed_headings,
        limits=ConversionLimits(
            max_pdf_pages=limits.max_pdf_pages,
            max_decompressed_mb=limits.max_decompressed_mb,
            max_compression_ratio=limits.max_compression_ratio,
        ),
    )
