"""UTF-16 without a mark is read where it can be nothing else; what is no text stays refused."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.converters import convert
from ragsaver.ingestion.converters.plain_text import decode
from ragsaver.ingestion.converters.utf16 import utf16_without_mark

TEXTS = [
    "The owl lives in the barn.\n",
    "Zażółć gęślą jaźń, proszę państwa.\n",
    "Привет, это русский текст для проверки кодировки файла, в нём больше слов.\n" * 3,
    "这是一个中文文本文件，用于测试编码检测的功能。一二三，一二三。\n" * 20,
    "これは日本語のテキストファイルです。来年の予算を増やすことを委員会が決めました。\n" * 20,
]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", TEXTS, ids=["English", "Polish", "Russian", "Chinese", "Japanese"])
def test_text_is_read_in_either_order_of_bytes(encoding: str, text: str):
    assert decode(text.encode(encoding), "a.txt") == text
    assert utf16_without_mark(text.encode(encoding)) == text


@pytest.mark.parametrize(
    "data",
    [
        bytes(range(256)) * 8,
        struct.pack("<500h", *(n % 200 - 100 for n in range(500))),
        struct.pack("<200i", *range(200)),
        struct.pack("<100d", *(n / 7 for n in range(100))),
        bytes(4096),
        random.Random(3).randbytes(4000) + bytes(96),
        TEXTS[0].encode("utf-16-le")[:-1],
        ("Text\0\1\2" * 300).encode(),
    ],
    ids=["all bytes", "samples", "numbers", "floats", "zeros", "noise", "half a sign", "control characters"],
)
def test_what_is_no_text_is_refused_as_binary(data: bytes):
    with pytest.raises(UnreadableDocument, match="is binary"):
        convert("a.txt", data)


@given(st.binary(min_size=128))
def test_bytes_by_chance_are_no_text(data: bytes):
    assert utf16_without_mark(random.Random(data).randbytes(256)) is None
