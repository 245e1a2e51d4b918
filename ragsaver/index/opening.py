"""Open the engine that the settings name. The only place that knows which engines there are."""

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from ragsaver.errors import MissingExtra, SettingsError
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import IndexIdentity, read_identity
from ragsaver.index.protocol import VectorIndex
from ragsaver.index.quantization import Quantization
from ragsaver.index.scope import Scope
from ragsaver.settings import IndexSettings

if TYPE_CHECKING:
    from ragsaver.index.connection import Connection

_PACKAGES = frozenset({"qdrant_client", "grpc", "tenacity"})


def open_index(store: Path, settings: IndexSettings, *, dim: int, fingerprint: str, model_name: str) -> VectorIndex:
    """Open or create the index: in a store's folder (see `store`), whose owner the caller is (see `ownership`), or in
    the server that all share.

    :raises ModelMismatch: if another model built it.
    :raises IndexLocked: if another process has it open.
    :raises StorageError: if the disk refuses, or the server.
    :raises MissingExtra: if the server's client is not installed.
    """
    identity = wanted_identity(settings, dim=dim, fingerprint=fingerprint, model_name=model_name)
    return open_alike(store, settings, identity)


def open_alike(store: Path, settings: IndexSettings, identity: IndexIdentity) -> VectorIndex:
    """As `open_index`, by what the index is built with."""
    return open_edge(store, settings, identity) if settings.engine == "edge" else open_server(settings, identity)


def open_edge(store: Path, settings: IndexSettings, identity: IndexIdentity) -> EdgeIndex:
    """The embedded index of a store, whatever engine the settings name."""
    return EdgeIndex(
        store / "index",
        identity,
        tenant_idf=settings.tenant_idf,
        optimize_after_points=settings.optimize_after_points,
        quantization=quantization(settings),
    )


def open_server(settings: IndexSettings, identity: IndexIdentity) -> VectorIndex:
    """The index in the server, whatever engine the settings name."""
    from_settings = connect(settings)
    from ragsaver.index.server import ServerIndex
    from ragsaver.index.server_collection import Growth

    try:
        return ServerIndex(
            from_settings,
            settings.collection,
            identity,
            tenant_idf=settings.tenant_idf,
            growth=Growth(settings.shards, settings.replicas, settings.on_disk, quantization(settings)),
        )
    except BaseException:
        from_settings.close()
        raise


def server_identity(settings: IndexSettings) -> IndexIdentity | None:
    """What the index in the server was built with; None if there is none yet."""
    connection = connect(settings)
    from ragsaver.index.server_collection import read_server_identity

    try:
        there = connection.ask(lambda client: client.collection_exists(settings.collection))
        return read_server_identity(connection, settings.collection) if there else None
    finally:
        connection.close()


def drop_server(settings: IndexSettings, scopes: Collection[Scope] | None = None) -> None:
    """Remove the index in the server, or, where others have points there, those of these scopes.

    :param scopes: None if nobody else can have any.
    :raises IndexUnavailable: if the server does not answer.
    """
    connection = connect(settings)
    from ragsaver.index.server_collection import drop_collection

    try:
        drop_collection(connection, settings.collection, scopes)
    finally:
        connection.close()
    if scopes is None and connection.folder is not None:
        shutil.rmtree(connection.folder, ignore_errors=True)


def identity_of(store: Path, settings: IndexSettings) -> IndexIdentity | None:
    """What the index was built with that the settings name; None if there is none yet."""
    return edge_identity(store) if settings.engine == "edge" else server_identity(settings)


def edge_identity(store: Path) -> IndexIdentity | None:
    """What the embedded index of a store was built with; None if there is none."""
    return read_identity(store / "index")


def asked_server(settings: IndexSettings) -> str | None:
    """What keeps the index, having been asked; None for the embedded one. Nothing is made.

    :raises StorageError: if it can't be reached.
    """
    if settings.engine == "edge":
        return None
    connection = connect(settings)
    try:
        version = connection.ask(lambda client: client.info()).version
        there = connection.ask(lambda client: client.collection_exists(settings.collection))
    finally:
        connection.close()
    what = "Qdrant's client, local mode" if connection.is_local else "Qdrant"
    made = "" if there else ", not made yet"
    return f"{what} {version} at {connection.where}, collection {settings.collection}{made}"


def connect(settings: IndexSettings) -> "Connection":
    """A connection to the server; the caller closes it.

    :raises SettingsError: if no server is named.
    """
    if settings.url is None:
        raise SettingsError(
            "no Qdrant server is named", where="`index.url`", remedy="Set it, or the variable QDRANT_URL"
        )
    try:
        from ragsaver.index.connection import Connection, ServerPlace
    except ImportError as error:
        if error.name not in _PACKAGES:
            raise
        raise MissingExtra(
            f"the {error.name} package is not installed", remedy='Install it with `pip install "ragsaver[qdrant]"`'
        ) from None
    return Connection(
        ServerPlace(settings.url, settings.api_key, settings.grpc_port, settings.timeout_s, settings.deadline_s)
    )


def quantization(settings: IndexSettings) -> Quantization | None:
    """The smaller copies of the vectors that the settings ask for."""
    return None if settings.quantization == "none" else Quantization(settings.quantization, settings.oversampling)


def wanted_identity(settings: IndexSettings, *, dim: int, fingerprint: str, model_name: str) -> IndexIdentity:
    """What an index by these settings and this model is built with."""
    words = (settings.language, settings.bm25_avg_words, settings.bm25_k1, settings.bm25_b)
    return IndexIdentity(model_name, fingerprint, dim, *words)
