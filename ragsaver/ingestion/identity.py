"""Names that never change by themselves: the same document and chunk have the same id on every machine.

A chunk has three fingerprints (xxh3-128): what is embedded, what is only carried, and where it stands. Only a
change of the first costs an embedding; a change of the others rewrites what the point carries.
"""

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import xxhash

from ragsaver.errors import UnreadableDocument
from ragsaver.index.keys import GROUPS, METADATA, PAGE_STARTS
from ragsaver.index.scope import Scope
from ragsaver.index.words import Words, WordSettings, words_of
from ragsaver.ingestion.chunker import Chunk
from ragsaver.models.embedded_text import embedded_hash

_NAMESPACE = uuid.UUID("6f2f5b0e-4a39-5b43-9d5e-0d9a5c1f7a11")


# Workers send chunks by the thousand, and tuples are made several times as fast as objects with slots.
class Fingerprints(NamedTuple):
    """A chunk of a document as the manifest keeps it: its point's id and the three fingerprints.

    They are empty where the point was found to be something else.
    """

    id: str
    embedded: str
    carried: str
    place: str

    def __reduce__(self) -> tuple[type["Fingerprints"], tuple[str, ...]]:
        return Fingerprints, tuple(self)


class StoredFingerprints(Sequence[Fingerprints]):
    """A document's chunks as text, read when more than their number is wanted: most documents did not change."""

    __slots__ = ("_read", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._read: tuple[Fingerprints, ...] | None = None

    @classmethod
    def of(cls, prints: Iterable[Fingerprints]) -> "StoredFingerprints":
        """The same, if they are stored ones already."""
        return (
            prints
            if isinstance(prints, cls)
            else cls(json.dumps([(one.id, one.embedded, one.carried, one.place) for one in prints]))
        )

    def read(self) -> tuple[Fingerprints, ...]:
        """All of them."""
        if self._read is None:
            self._read = tuple(Fingerprints(*one) for one in json.loads(self.text))
        return self._read

    def __len__(self) -> int:
        return self.text.count("[") - 1  # ids and fingerprints hold no bracket

    def __iter__(self) -> Iterator[Fingerprints]:
        return iter(self.read())

    @overload
    def __getitem__(self, at: int) -> Fingerprints: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[Fingerprints, ...]: ...

    def __getitem__(self, at: int | slice) -> Fingerprints | tuple[Fingerprints, ...]:
        return self.read()[at]

    def __eq__(self, other: object) -> bool:
        return tuple(other) == self.read() if isinstance(other, (StoredFingerprints, tuple)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.read())


class IdentifiedChunk(NamedTuple):
    """A chunk with its fingerprints and what its point carries beside the text.

    :ivar words: that BM25 sees, where they were made already.
    """

    prints: Fingerprints
    chunk: Chunk
    payload: Mapping[str, Any]
    words: Words | None = None

    @property
    def id(self) -> str:
        """The id of its point."""
        return self.prints.id

    def __reduce__(self) -> tuple[type["IdentifiedChunk"], tuple[object, ...]]:
        return IdentifiedChunk, tuple(self)


@dataclass(frozen=True, slots=True)
class Carried:
    """What a document's points carry and nobody embeds."""

    source: str
    title: str
    metadata: Mapping[str, Any]


def document_id(scope: Scope, source: str) -> str:
    """UUIDv5 of tenant, collection and source."""
    return _uuid5("\0".join((scope.tenant, scope.collection, source)))


def content_hash(data: bytes) -> str:
    """xxh3-128 of a document's bytes."""
    return xxhash.xxh3_128_hexdigest(data)


def metadata_hash(metadata: Mapping[str, Any]) -> str:
    """xxh3-128 of metadata; the order of its keys does not count."""
    return _digest(metadata) if metadata else _NO_METADATA


def carried_hash(title: Any, heading: Any, metadata: Mapping[str, Any]) -> str:
    """The fingerprint of what is only carried."""
    return _digest({"title": title, "heading": heading, METADATA: dict(metadata)})


def place_hash(source: Any, ordinal: Any, page: Any, page_starts: Any = None) -> str:
    """The fingerprint of where a chunk stands."""
    over_pages = {PAGE_STARTS: page_starts} if page_starts else {}
    return _digest({"ordinal": ordinal, "page": page, "source": source, **over_pages})


def groups_of(metadata: Mapping[str, Any], source: str) -> list[str]:
    """Who may read a document, by its metadata's `groups`; none is everybody of the tenant.

    :raises UnreadableDocument: if they are named in a way that leaves it open who is meant.
    """
    if GROUPS not in metadata:
        return []
    named = metadata[GROUPS]
    if not isinstance(named, list) or not named or not all(isinstance(one, str) and one.strip() for one in named):
        raise UnreadableDocument(
            "its metadata's `groups` is no list of names",
            where=source,
            remedy='Give the groups that may read it, as ["sales", "legal"], or leave `groups` out for everybody',
        )
    return sorted(set(named))


def readers(metadata: Mapping[str, Any]) -> list[str]:
    """The groups that a document that is in names; none is everybody."""
    groups = metadata.get(GROUPS)
    return groups if isinstance(groups, list) else []


def identify(
    document: str,
    chunks: Sequence[Chunk],
    carried: Carried,
    model_fingerprint: str,
    word_settings: WordSettings | None = None,
) -> list[IdentifiedChunk]:
    """Name the chunks of a document: UUIDv5 of the document, what is embedded, and which occurrence it is.

    :param document: the document's id.
    :param word_settings: by which their words are made too.
    :raises UnreadableDocument: if it names groups in a way that leaves it open who may read it.
    """
    groups = groups_of(carried.metadata, carried.source)
    seen: Counter[str] = Counter()
    carried_digests: dict[str, str] = {}
    named: list[IdentifiedChunk] = []
    # what is empty is left out: an index spends as long on it as on what is not
    of_document: dict[str, Any] = {METADATA: dict(carried.metadata)} if carried.metadata else {}
    of_document |= {GROUPS: groups} if groups else {}
    source = _SORTED.encode(carried.source)
    for chunk in chunks:
        embedded = embedded_hash(model_fingerprint, chunk.embed_text)
        name = f"{document}\0{embedded}\0{seen[embedded]}"
        seen[embedded] += 1
        heading = chunk.heading or carried.title
        shown = {"title": carried.title, "heading": heading}
        if heading not in carried_digests:
            carried_digests[heading] = carried_hash(carried.title, heading, carried.metadata)
        place: dict[str, Any] = {"source": carried.source, "ordinal": chunk.ordinal, "page": chunk.page}
        place |= {PAGE_STARTS: chunk.page_starts} if chunk.page_starts else {}
        prints = Fingerprints(_uuid5(name), embedded, carried_digests[heading], _place_digest(source, chunk))
        words = words_of(chunk.embed_text, word_settings) if word_settings else None
        named.append(IdentifiedChunk(prints, chunk, {**shown, **place, **of_document}, words))
    return named


def _uuid5(name: str) -> str:
    """As `uuid.uuid5` has it, without an object for each: there are as many as chunks."""
    digest = bytearray(hashlib.sha1(_NAMESPACE.bytes + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _place_digest(source: str, chunk: Chunk) -> str:
    """`place_hash`, without an encoder's run for each chunk."""
    page = "null" if chunk.page is None else chunk.page
    over_pages = f'"{PAGE_STARTS}": {chunk.page_starts}, ' if chunk.page_starts else ""
    return xxhash.xxh3_128_hexdigest(
        f'{{"ordinal": {chunk.ordinal}, "page": {page}, {over_pages}"source": {source}}}'.encode()
    )


def _digest(values: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(_SORTED.encode(values).encode())


_SORTED = json.JSONEncoder(sort_keys=True, default=str)
_NO_METADATA = _digest({})
