"""Plain text: find its encoding, refuse what is no text at all, and cut it at its empty lines.

What is no UTF-8 is told by the lines that are none, wherever they stand: the first of a long file may all be ASCII.
"""

import re
import unicodedata
from collections.abc import Sequence

from charset_normalizer import CharsetMatch, from_bytes

from ragsaver.control_characters import NOT_IN_TEXT
from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.blocks import Block, ParsedDocument
from ragsaver.ingestion.converters.latin import by_language
from ragsaver.ingestion.converters.utf16 import utf16_without_mark

_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)

# How much an encoding is told by, and how much one line of it gives.
_SAMPLE_BYTES = 65_536
_LINE_BYTES = 4096
# A few words look equally well in many encodings: this one is by far the most frequent, an old Macintosh's the least.
_USUAL = "cp1252"
# A mark tells them; they are not cut at the byte that ends lines.
_NOT_IN_LINES = ["utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be", "utf_7"]

# Text has tabs and line ends; a share of other control characters above this is something else.
_CONTROL_SHARE = 0.01
_CONTROL = re.compile(f"[{re.escape(NOT_IN_TEXT.decode())}\x80-\x9f]")
_PARAGRAPH = re.compile(r"\n\s*\n")


def from_text(data: bytes, name: str) -> ParsedDocument:
    """Paragraphs of a plain text."""
    text = decode(data, name)
    return ParsedDocument(tuple(Block("paragraph", part.strip()) for part in _PARAGRAPH.split(text) if part.strip()))


def decode(data: bytes, name: str) -> str:
    """The text in `data`, normalised to NFC with plain line ends.

    :raises UnreadableDocument: if it is binary, or no encoding that can be told has all of its bytes.
    """
    encoding = next((encoding for mark, encoding in _BOMS if data.startswith(mark)), None)
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        text = _wide(data, name) if b"\0" in data[:4096] else _decode_otherwise(data, name)
    if _has_control(text):
        text = _wide(data, name)
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", ""))


def _has_control(text: str) -> bool:
    sample = text[:_SAMPLE_BYTES]
    if sample.isascii():  # to leave them out takes a fraction of finding them
        found = len(sample) - len(sample.encode().translate(None, NOT_IN_TEXT))
    else:
        found = len(_CONTROL.findall(sample))
    return found > _CONTROL_SHARE * len(sample)


def _wide(data: bytes, name: str) -> str:
    """The text of what would be binary otherwise."""
    text = utf16_without_mark(data)
    if text is None:
        raise UnreadableDocument(
            "is binary, not text as its name says",
            where=name,
            remedy="Give the file its right suffix, or leave it out",
        )
    return text


def _decode_otherwise(data: bytes, name: str) -> str:
    """The text of what is not UTF-8: all of it in one encoding, or only some lines where most are UTF-8."""
    lines = data.split(b"\n")
    foreign = {number: found for number, line in enumerate(lines) if (found := _not_utf8(line))}
    encodings = _encodings_of(list(foreign.values()))
    if sum(not line.isascii() for line in lines) < 2 * len(foreign):
        foreign, lines = {0: data}, [data]
    for encoding in encodings:
        try:
            return "\n".join(line.decode(encoding if n in foreign else "utf-8") for n, line in enumerate(lines))
        except UnicodeDecodeError:
            continue
    raise UnreadableDocument(
        f"is in no encoding that has all of its bytes{f'; {encodings[0]} has most' if encodings else ''}",
        where=name,
        remedy="Save it as UTF-8, or leave it out if it is no text",
    )


def _not_utf8(line: bytes) -> bytes:
    """Some of a line from its first character that is not UTF-8 on, and what stands before that; nothing if all is."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return line[max(0, error.start - _LINE_BYTES // 4) : error.start + _LINE_BYTES]
    return b""


def _encodings_of(lines: Sequence[bytes]) -> list[str]:
    """Encodings that text may be in, the likeliest first; lines of all parts of it are looked at."""
    step = 1 + sum(map(len, lines)) // _SAMPLE_BYTES
    sample = b"\n".join(lines[::step])
    found = sorted(from_bytes(sample, cp_exclusion=_NOT_IN_LINES), key=_unlikeliness)
    if not found and 3 * sum(byte > 0x7F for byte in sample) < len(sample):  # names and the like in an ASCII text
        return by_language(sample, [_USUAL])
    named = ((match.encoding, *match.could_be_from_charset) for match in found)
    ranked = dict.fromkeys(one for names in named for one in sorted(names, key=lambda name: name != _USUAL))
    return by_language(sample, list(ranked))


def _unlikeliness(match: CharsetMatch) -> tuple[bool, float, float, bool]:
    usual = _USUAL in match.could_be_from_charset
    return match.encoding.startswith("mac_"), round(match.chaos, 2), -round(match.coherence, 1), not usual
