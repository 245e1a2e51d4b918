"""How much of a document is read: never more than its limit, whatever its source said or sends."""

import errno
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from typing import Protocol

from ragsaver.errors import UnreadableDocument, VanishedDocument

_PIECE = 2**20
# A link put in a file's place between listing and reading is not followed, and a pipe is not waited for.
_OPEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

GONE = "is not there any more"


class Readable(Protocol):
    """What is read by pieces: an open file or object."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...


def read_file(path: str, source: str, max_bytes: int) -> bytes:
    """A file's bytes.

    :raises VanishedDocument: if it is gone.
    :raises UnreadableDocument: if it is not ours to read, no file, a link by now, or too large.
    """
    try:
        # Unbuffered: a file is mostly one piece.
        with open(os.open(path, _OPEN), "rb", buffering=0) as file:  # noqa: PTH123
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableDocument("is not a file", where=source, remedy="Leave it out")
            if status.st_size > max_bytes:
                raise too_large(max_bytes, source)
            return join(pieces(file, status.st_size + 1), max_bytes, source)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise VanishedDocument(GONE, where=source, remedy="Check that it is there") from error
    except OSError as error:
        reason = "it is a link by now" if error.errno == errno.ELOOP else error.strerror
        raise UnreadableDocument(f"can't be read: {reason}", where=source, remedy="Check its rights") from error


def read_head(path: str, size: int) -> bytes:
    """A file's first bytes.

    :raises OSError: if it can't be read, or is a link by now.
    """
    with open(os.open(path, _OPEN), "rb", buffering=0) as file:  # noqa: PTH123
        return file.read(size)


def pieces(stream: Readable, first: int = _PIECE) -> Iterator[bytes]:
    """The stream's bytes in pieces.

    :param first: bytes of the first piece, where the size is known.
    """
    size = min(first, _PIECE)
    while piece := stream.read(size):
        yield piece
        size = _PIECE


def join(parts: Iterable[bytes], max_bytes: int, where: str) -> bytes:
    """All parts together.

    :raises UnreadableDocument: as soon as they are more than `max_bytes`.
    """
    kept: list[bytes] = []
    size = 0
    for part in parts:
        size += len(part)
        if size > max_bytes:
            raise too_large(max_bytes, where)
        kept.append(part)
    return kept[0] if len(kept) == 1 else b"".join(kept)


def gunzip(parts: Iterable[bytes], where: str) -> Iterator[bytes]:
    """What was compressed, in pieces of at most 1 MiB, so that a small bomb is noticed before it is large.

    :raises UnreadableDocument: if it is no gzip or ends too early.
    """
    unpacker = zlib.decompressobj(wbits=31)
    begun = False
    for part in parts:
        rest = part
        while rest:
            if unpacker.eof:
                unpacker = zlib.decompressobj(wbits=31)
            try:
                piece = unpacker.decompress(rest, _PIECE)
            except zlib.error as error:
                raise UnreadableDocument(f"is broken gzip: {error}", where=where) from error
            begun = True
            rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            if piece:
                yield piece
    # A full output buffer may hide bytes that zlib has taken in and not given out yet.
    while begun and not unpacker.eof:
        piece = unpacker.decompress(b"", _PIECE)
        if not piece:
            raise UnreadableDocument("is gzip that ends too early", where=where)
        yield piece


def too_large(max_bytes: int, where: str) -> UnreadableDocument:
    """The error for a document above the limit."""
    return UnreadableDocument(
        f"has more than the {max_bytes / 2**20:.3g} MB that are allowed",
        where=where,
        remedy="Split it, or raise `ingestion.max_file_mb`",
    )
