"""Is a file whose name has no suffix a text? `README` and `LICENSE` are; programs, keys and data are not."""

from codecs import getincrementaldecoder

from ragsaver.control_characters import NOT_IN_TEXT
from ragsaver.ingestion.bounded import read_head
from ragsaver.ingestion.converters import what_it_is

_HEAD_BYTES = 4096
# How scripts begin, and private keys (`id_rsa`), which nobody means to send to a model.
_NO_DOCUMENT = (b"#!", b"-----BEGIN ")


def has_suffix(name: str) -> bool:
    """Whether a file's name says what the file is, in whatever way."""
    return "." in name


def is_text(path: str) -> bool:
    """Whether a file begins as text in UTF-8, and as no script or key. What can't be read is told once it is to be."""
    try:
        head = read_head(path, _HEAD_BYTES)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    if not head or head.startswith(_NO_DOCUMENT) or what_it_is(head) or head.translate(None, NOT_IN_TEXT) != head:
        return False
    try:
        getincrementaldecoder("utf-8")().decode(head)  # a character may be cut at the end
    except UnicodeDecodeError:
        return False
    return True
