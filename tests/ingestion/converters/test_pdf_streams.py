"""A PDF that unpacks to far more than it is is refused by name, before a parser eats the memory."""

import zlib

import pytest

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.converters import convert
from ragsaver.ingestion.converters.limits import ConversionLimits
from ragsaver.ingestion.converters.pdf_streams import check_streams
from tests.pdf_files import packed_pdf

TEXT = b"BT /F1 12 Tf 50 750 Td (The owl lives in the barn.) Tj ET"


def packed(size_mb: int) -> bytes:
    """A page's text, and spaces behind it."""
    packing, spaces, check = zlib.compressobj(9), b" " * 2**20, zlib.adler32(TEXT)
    text = packing.compress(TEXT) + packing.flush(zlib.Z_FULL_FLUSH)
    again = packing.compress(spaces) + packing.flush(zlib.Z_FULL_FLUSH)  # refers to nothing before it
    for _ in range(size_mb):
        check = zlib.adler32(spaces, check)
    return text + again * size_mb + b"\x03\x00" + check.to_bytes(4, "big")


def test_a_stream_that_unpacks_to_more_than_a_gigabyte_is_refused_as_what_it_is():
    with pytest.raises(UnreadableDocument, match="a stream of it unpacks to more than 200 MB") as caught:
        convert("bomb.pdf", packed_pdf(packed(1500)))
    assert caught.value.where == "bomb.pdf" and "max_decompressed_mb" in str(caught.value.remedy)


def test_the_limit_is_the_settings():
    data = packed_pdf(packed(3))
    assert [one.text for one in convert("a.pdf", data).blocks] == ["The owl lives in the barn."]
    with pytest.raises(UnreadableDocument, match="more than 2 MB"):
        convert("a.pdf", data, limits=ConversionLimits(max_decompressed_mb=2))


def test_pictures_and_what_is_packed_otherwise_are_left_to_the_limit_on_memory():
    check_streams(packed_pdf(packed(3), "/Type /XObject /Subtype /Image "), "a.pdf", 2)
    check_streams(packed_pdf(bytes(range(256)) * 2**8), "a.pdf", 1)
