"""Open the engine that the settings name. The only place that knows which engines there are."""

from pathlib import Path

from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.protocol import VectorIndex
from ragsaver.settings import IndexSettings


def open_index(store: Path, settings: IndexSettings, *, dim: int, fingerprint: str, model_name: str) -> VectorIndex:
    """Open or create the index in a store's folder (see `store`). The caller owns it (see `ownership`).

    :raises ModelMismatch: if another model built it.
    :raises IndexLocked: if another process has it open.
    :raises StorageError: if the disk refuses.
    """
    identity = wanted_identity(settings, dim=dim, fingerprint=fingerprint, model_name=model_name)
    return EdgeIndex(
        store / "index",
        identity,
        tenant_idf=settings.tenant_idf,
        optimize_after_points=settings.optimize_after_points,
    )


def wanted_identity(settings: IndexSettings, *, dim: int, fingerprint: str, model_name: str) -> IndexIdentity:
    """What an index by these settings and this model is built with."""
    return IndexIdentity(model_name, fingerprint, dim, settings.language, settings.bm25_avg_words)
