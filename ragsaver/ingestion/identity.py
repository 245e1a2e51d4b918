"""Names that never change by themselves: the same document and chunk have the same id on every machine."""

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import xxhash

from ragsaver.index.protocol import Scope
from ragsaver.ingestion.chunker import Chunk

_NAMESPACE = uuid.UUID("6f2f5b0e-4a39-5b43-9d5e-0d9a5c1f7a11")


@dataclass(frozen=True, slots=True)
class IdentifiedChunk:
    """A chunk with its point id and the fingerprint of what is embedded (xxh3-128)."""

    id: str
    embed_hash: str
    chunk: Chunk


def document_id(scope: Scope, source: str) -> str:
    """UUIDv5 of tenant, collection and source."""
    return str(uuid.uuid5(_NAMESPACE, "\0".join((scope.tenant, scope.collection, source))))


def content_hash(data: bytes) -> str:
    """xxh3-128 of a document's bytes."""
    return xxhash.xxh3_128_hexdigest(data)


def identify(document: str, chunks: Sequence[Chunk], model_fingerprint: str) -> list[IdentifiedChunk]:
    """Name the chunks of a document: UUIDv5 of the document, what is embedded, and which occurrence it is."""
    seen: Counter[str] = Counter()
    named: list[IdentifiedChunk] = []
    for chunk in chunks:
        digest = xxhash.xxh3_128_hexdigest(f"{model_fingerprint}\0{chunk.embed_text}".encode())
        name = f"{document}\0{digest}\0{seen[digest]}"
        seen[digest] += 1
        named.append(IdentifiedChunk(str(uuid.uuid5(_NAMESPACE, name)), digest, chunk))
    return named
