"""What would a PDF's streams unpack to? One that is larger than a file may be is refused before a parser unpacks it.

Pictures are passed over, nobody unpacks them for their text; so is what is packed in another way than Deflate. Of
these the limit on memory takes care.
"""

import re
import zlib

from ragsaver.errors import UnreadableDocument

_STREAM = re.compile(rb"(?<!end)stream\r?\n")
_PICTURE = re.compile(rb"/Subtype\s*/Image\b")
_DICTIONARY_BYTES = 4096
# Deflate makes no more of a byte: zlib's own documentation, "maximum compression factor".
_AT_MOST = 1032
_PIECE_BYTES = 2**20


def check_streams(data: bytes, name: str, max_mb: int) -> None:
    """Unpack what may be too large, a piece at a time.

    :param max_mb: that one stream may unpack to.
    :raises UnreadableDocument: if one is larger.
    """
    allowed = max_mb * 2**20
    for found in _STREAM.finditer(data):
        start, end = found.end(), data.find(b"endstream", found.end())
        if ((len(data) if end < 0 else end) - start) * _AT_MOST <= allowed:
            continue
        object_at = data.rfind(b"obj", max(0, found.start() - _DICTIONARY_BYTES), found.start())
        if not _PICTURE.search(data, max(object_at, 0), found.start()) and _unpacks_beyond(data, start, allowed):
            raise UnreadableDocument(
                f"a stream of it unpacks to more than {max_mb} MB",
                where=name,
                remedy="Leave it out, or raise `ingestion.max_decompressed_mb`",
            )


def _unpacks_beyond(data: bytes, start: int, allowed: int) -> bool:
    unpacking, size = zlib.decompressobj(), 0
    view = memoryview(data)
    try:
        while size <= allowed and start < len(data) and not unpacking.eof:
            packed: bytes | memoryview = view[start : start + _PIECE_BYTES]
            start += _PIECE_BYTES
            while packed and size <= allowed:
                size += len(unpacking.decompress(packed, _PIECE_BYTES))
                packed = unpacking.unconsumed_tail
    except zlib.error:  # it is packed otherwise, or encrypted
        pass
    return size > allowed
