"""The collection at a Qdrant server: made once, for growing, and known by what built it.

The identity is the collection's metadata, written with the collection itself: of two processes that make it at once
one does, and the other finds it.
"""

import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from operator import methodcaller
from typing import Any

from qdrant_client import models

from ragsaver.errors import StorageError
from ragsaver.index.connection import Connection, is_there_already
from ragsaver.index.identity import MIGRATE, IndexIdentity, require_same
from ragsaver.index.keys import (
    DENSE,
    EARLIER_LISTED,
    EARLIER_STATE,
    GROUPS,
    LEXICAL,
    LISTED_IN,
    SCOPE,
    scope_key,
)
from ragsaver.index.quantization import Quantization
from ragsaver.index.scope import Scope

_METADATA = "ragsaver"

_NEEDED = (1, 16)  # metadata of a collection
_NEEDED_FOR_TENANT_IDF = (1, 19)
_NEEDED_FOR_TURBO = (1, 18)

_SCHEMA: dict[str, Any] = {
    SCOPE: models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    LISTED_IN: models.PayloadSchemaType.KEYWORD,
    GROUPS: models.PayloadSchemaType.KEYWORD,
}


@dataclass(frozen=True, slots=True)
class Growth:
    """How a collection is made; what is there stays as it was made.

    :ivar shards: the server decides if None.
    :ivar replicas: copies of each shard; a write is answered once most of them have it.
    :ivar on_disk: vectors are read from disk, not kept in memory; smaller copies of them are, if there are any.
    """

    shards: int | None = None
    replicas: int = 1
    on_disk: bool = False
    quantization: Quantization | None = None


def open_collection(
    connection: Connection, name: str, identity: IndexIdentity, growth: Growth, *, tenant_idf: bool
) -> None:
    """Make the collection, or check that it was built alike.

    :raises ModelMismatch: if another model built it.
    :raises StorageError: if the server is too old, or the collection is none of RAGSaver's.
    """
    version = None if connection.is_local else _required_version(connection, tenant_idf)
    if not connection.ask(lambda client: client.collection_exists(name)):
        if version and version < _NEEDED_FOR_TURBO and growth.quantization and growth.quantization.kind == "turbo":
            raise StorageError(
                "this Qdrant knows no `turbo` quantisation, which came with {}.{}".format(*_NEEDED_FOR_TURBO),
                where=connection.where,
                remedy="Upgrade the server, or set `index.quantization` to another kind",
            )
        _create(connection, name, identity, growth)
    require_same(
        read_server_identity(connection, name),
        identity,
        where=_where(connection, name),
        otherwise=f"{MIGRATE}; where it is another project's, name another `index.collection`",
    )
    _index_payload(connection, name)


def read_server_identity(connection: Connection, name: str) -> IndexIdentity:
    """What a collection that is there was built with.

    :raises StorageError: if it is none of RAGSaver's.
    """
    metadata = connection.ask(lambda client: client.get_collection(name)).config.metadata
    try:
        return IndexIdentity(**(metadata or {})[_METADATA])
    except (KeyError, TypeError) as error:
        raise StorageError(
            "the collection was not made by RAGSaver",
            where=_where(connection, name),
            remedy="Name another one in `index.collection`",
        ) from error


def drop_collection(connection: Connection, name: str, scopes: Collection[Scope] | None) -> None:
    """Remove a collection; one that is not there is gone.

    :param scopes: those whose points may go; where it has others too, which are somebody else's, it stays with these.
        None if all is ours.
    """
    if not connection.ask(lambda client: client.collection_exists(name)):
        return
    if scopes is not None:
        ours = {scope_key(scope) for scope in scopes}
        hits = connection.ask(lambda client: client.facet(name, SCOPE, limit=1_000_000, exact=True)).hits
        if any(str(hit.value) not in ours for hit in hits):
            if not ours:
                return
            some = models.FieldCondition(key=SCOPE, match=models.MatchAny(any=sorted(ours)))
            gone = models.DeleteOperation(delete=models.FilterSelector(filter=models.Filter(must=[some])))
            connection.ask(methodcaller("batch_update_points", name, [gone], wait=True))
            return
    connection.ask(lambda client: client.delete_collection(name))


def _create(connection: Connection, name: str, identity: IndexIdentity, growth: Growth) -> None:
    try:
        connection.ask(
            lambda client: client.create_collection(
                name,
                vectors_config={
                    DENSE: models.VectorParams(
                        size=identity.dim, distance=models.Distance.DOT, on_disk=growth.on_disk or None
                    )
                },
                sparse_vectors_config={
                    LEXICAL: models.SparseVectorParams(
                        modifier=models.Modifier.IDF,
                        index=models.SparseIndexParams(on_disk=True) if growth.on_disk else None,
                    )
                },
                shard_number=growth.shards,
                replication_factor=growth.replicas,
                write_consistency_factor=growth.replicas // 2 + 1,
                on_disk_payload=True,
                quantization_config=_quantized(growth.quantization) if growth.quantization else None,
                hnsw_config=models.HnswConfigDiff(on_disk=True) if growth.on_disk else None,
                metadata={_METADATA: asdict(identity)},
            )
        )
    except StorageError as error:
        if error.__cause__ is None or not is_there_already(error.__cause__):
            raise


def _quantized(wanted: Quantization) -> models.QuantizationConfig:
    match wanted.kind:
        case "int8":
            scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
            return models.ScalarQuantization(scalar=scalar)
        case "binary":
            return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
        case "product":
            product = models.ProductQuantizationConfig(compression=models.CompressionRatio.X16, always_ram=True)
            return models.ProductQuantization(product=product)
        case "turbo":
            turbo = models.TurboQuantQuantizationConfig(bits=models.TurboQuantBitSize.BITS4, always_ram=True)
            return models.TurboQuantization(turbo=turbo)


def _index_payload(connection: Connection, name: str) -> None:
    """A process that died between making the collection and this left no index of the payload."""
    if connection.is_local:
        return
    there = connection.ask(lambda client: client.get_collection(name)).payload_schema
    for key, schema in _SCHEMA.items():
        if key not in there:
            connection.ask(methodcaller("create_payload_index", name, key, schema, wait=True))
    if EARLIER_STATE in there:
        take_over(connection, name)


def take_over(connection: Connection, name: str) -> None:
    """Let the points of an earlier version's collection say that they are listed as they do now."""
    was_listed = models.FieldCondition(key=EARLIER_STATE, match=models.MatchValue(value=EARLIER_LISTED))
    for hit in connection.ask(lambda client: client.facet(name, SCOPE, limit=1_000_000, exact=True)).hits:
        of_scope = models.FieldCondition(key=SCOPE, match=models.MatchValue(value=str(hit.value)))
        listed = models.Filter(must=[of_scope, was_listed])
        connection.ask(methodcaller("set_payload", name, {LISTED_IN: str(hit.value)}, listed, wait=True))
    said = models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key=EARLIER_STATE))])
    connection.ask(methodcaller("delete_payload", name, [EARLIER_STATE], said, wait=True))
    connection.ask(methodcaller("delete_payload_index", name, EARLIER_STATE, wait=True))  # until then it is begun anew


def _required_version(connection: Connection, tenant_idf: bool) -> tuple[int, int]:
    """The server's version, which is late enough."""
    version = connection.ask(lambda client: client.info()).version
    parts = re.match(r"v?(\d+)\.(\d+)", version)
    found = (int(parts[1]), int(parts[2])) if parts else (0, 0)
    needed = _NEEDED_FOR_TENANT_IDF if tenant_idf else _NEEDED
    if found < needed:
        without = ", or set `index.tenant_idf: false`: word statistics are of all tenants together then"
        raise StorageError(
            f"this is Qdrant {version}, RAGSaver needs {needed[0]}.{needed[1]} or later",
            where=connection.where,
            remedy="Upgrade the server" + (without if needed > found >= _NEEDED else ""),
        )
    return found


def _where(connection: Connection, name: str) -> str:
    return f"{connection.where}, collection {name}"
