"""UTF-16 without a byte order mark: told where what it says is text throughout, and is nothing else."""

import re
import unicodedata

_SAMPLE_UNITS = 32_768
_SPACE = re.compile(r"[ \n\r\t]")
# What no text has: control characters, halves of characters, private and unassigned ones.
_NO_TEXT = frozenset({"Cc", "Cs", "Co", "Cn"})
# Of so few characters chance may make text: most of them have to be ASCII then.
_FEW = 64
_ASCII_SHARE = 0.5
_SPACE_SHARE = 0.001


def utf16_without_mark(data: bytes) -> str | None:
    """The text, if all of it is UTF-16 in one of the two orders of bytes; None if it may be something else."""
    if len(data) % 2:
        return None
    read = [text for encoding in ("utf-16-le", "utf-16-be") if (text := _read(data, encoding)) is not None]
    return max(read, key=lambda text: len(_SPACE.findall(text[:_SAMPLE_UNITS])), default=None)


def _read(data: bytes, encoding: str) -> str | None:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return None
    sample = text[:_SAMPLE_UNITS]
    if any(unicodedata.category(sign) in _NO_TEXT for sign in set(_SPACE.sub("", sample))):
        return None
    few = len(sample) < _FEW and sum(map(str.isascii, sample)) < _ASCII_SHARE * len(sample)
    return None if few or len(_SPACE.findall(sample)) < max(1, _SPACE_SHARE * len(sample)) else text
