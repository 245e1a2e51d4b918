"""Plain text: find its encoding, refuse what is no text at all, and cut it at its empty lines."""

import re
import unicodedata

from charset_normalizer import from_bytes

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.blocks import Block, ParsedDocument

_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)

# Text has tabs and line ends; a share of other control characters above this is something else.
_CONTROL_SHARE = 0.01
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_PARAGRAPH = re.compile(r"\n\s*\n")


def from_text(data: bytes, name: str) -> ParsedDocument:
    """Paragraphs of a plain text."""
    text = decode(data, name)
    return ParsedDocument(tuple(Block("paragraph", part.strip()) for part in _PARAGRAPH.split(text) if part.strip()))


def decode(data: bytes, name: str) -> str:
    """The text in `data`, normalised to NFC with plain line ends.

    :raises UnreadableDocument: if it is binary, or in no encoding that can be told.
    """
    encoding = next((encoding for mark, encoding in _BOMS if data.startswith(mark)), None)
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        if b"\0" in data[:4096]:
            raise _binary(name) from None
        best = from_bytes(data[:65_536]).best()
        if best is None:
            raise _binary(name) from None
        text = data.decode(best.encoding, errors="replace")
    sample = text[:65_536]
    if len(_CONTROL.findall(sample)) > _CONTROL_SHARE * len(sample):
        raise _binary(name)
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", ""))


def _binary(name: str) -> UnreadableDocument:
    return UnreadableDocument(
        "is binary, not text as its name says",
        where=name,
        remedy="Give the file its right suffix, or leave it out",
    )
