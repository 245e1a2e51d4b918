"""Names that never change by themselves: the same document and chunk have the same id on every machine.

A chunk has three fingerprints (xxh3-128): what is embedded, what is only carried, and where it stands. Only a
change of the first costs an embedding; a change of the others rewrites what the point carries.
"""

import json
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xxhash

from ragsaver.index.scope import Scope
from ragsaver.ingestion.chunker import Chunk

_NAMESPACE = uuid.UUID("6f2f5b0e-4a39-5b43-9d5e-0d9a5c1f7a11")


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """A chunk of a document as the manifest keeps it: its point's id and the three fingerprints."""

    id: str
    embedded: str
    carried: str
    place: str


@dataclass(frozen=True, slots=True)
class IdentifiedChunk:
    """A chunk with its fingerprints and what its point carries beside the text."""

    prints: Fingerprints
    chunk: Chunk
    payload: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The id of its point."""
        return self.prints.id


@dataclass(frozen=True, slots=True)
class Carried:
    """What a document's points carry and nobody embeds."""

    source: str
    title: str
    metadata: Mapping[str, Any]


def document_id(scope: Scope, source: str) -> str:
    """UUIDv5 of tenant, collection and source."""
    return str(uuid.uuid5(_NAMESPACE, "\0".join((scope.tenant, scope.collection, source))))


def content_hash(data: bytes) -> str:
    """xxh3-128 of a document's bytes."""
    return xxhash.xxh3_128_hexdigest(data)


def metadata_hash(metadata: Mapping[str, Any]) -> str:
    """xxh3-128 of metadata; the order of its keys does not count."""
    return _digest(metadata)


def identify(document: str, chunks: Sequence[Chunk], carried: Carried, model_fingerprint: str) -> list[IdentifiedChunk]:
    """Name the chunks of a document: UUIDv5 of the document, what is embedded, and which occurrence it is.

    :param document: the document's id.
    """
    seen: Counter[str] = Counter()
    named: list[IdentifiedChunk] = []
    for chunk in chunks:
        embedded = xxhash.xxh3_128_hexdigest(f"{model_fingerprint}\0{chunk.embed_text}".encode())
        name = f"{document}\0{embedded}\0{seen[embedded]}"
        seen[embedded] += 1
        shown = {
            "title": carried.title,
            "heading": chunk.heading or carried.title,
            "metadata": dict(carried.metadata),
        }
        place = {"source": carried.source, "ordinal": chunk.ordinal, "page": chunk.page}
        prints = Fingerprints(str(uuid.uuid5(_NAMESPACE, name)), embedded, _digest(shown), _digest(place))
        named.append(IdentifiedChunk(prints, chunk, {**shown, **place}))
    return named


def _digest(values: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(values, sort_keys=True, default=str).encode())
