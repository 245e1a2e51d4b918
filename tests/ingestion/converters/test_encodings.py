"""An encoding is told by what is not UTF-8, wherever it stands, and nothing is replaced on the quiet."""

import pytest

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.converters import convert
from ragsaver.ingestion.converters.plain_text import decode

ASCII = "Plain words of an export that nobody wrote by hand.\n" * 2000  # beyond what a sample of the beginning sees
GERMAN = "Die Größe der Straße überraschte die Gäste sehr, schrieb der Bürgermeister.\n"


@pytest.mark.parametrize(
    ("encoding", "line"),
    [
        ("cp1252", GERMAN),
        ("cp1252", "Der Preis beträgt 5 € für „Gäste“ – höchstens.\n"),
        ("cp1252", "L'élève a été reçu à l'école près de la forêt où naît l'été.\n"),
        ("cp1252", "Müller\n"),
        ("cp1250", "Zażółć gęślą jaźń, proszę państwa, i więcej słów po polsku.\n"),
        ("cp1251", "Привет, это русский текст для проверки кодировки файла.\n"),
        ("gb18030", "这是一个中文文本文件，用于测试编码检测的功能。\n"),
        ("shift_jis", "これは日本語のテキストファイルです。文字コードを判定します。\n"),
    ],
)
def test_one_line_after_a_hundred_kilobytes_of_ascii_tells_the_encoding(encoding: str, line: str):
    text = ASCII + line
    assert decode(text.encode(encoding), "a.txt") == text


def test_a_text_that_is_one_long_line_is_told_too():
    text = ASCII.replace("\n", " ") + GERMAN
    assert decode(text.encode("cp1252"), "a.txt") == text


def test_a_table_s_late_umlauts_are_read():
    text = "id;name;ort\n" + "".join(f"{n};Smith;London\n" for n in range(8000)) + "8001;Jäger;Düsseldorf\n"
    assert convert("a.csv", text.encode("cp1252")).blocks[0].text.endswith("8001 | Jäger | Düsseldorf")


@pytest.mark.parametrize("place", [0, 1500])
def test_a_line_of_another_encoding_does_not_spoil_the_utf8_around_it(place: int):
    lines = [GERMAN.encode()] * 1500
    lines.insert(place, GERMAN.encode("cp1252"))
    assert decode(b"".join(lines), "a.txt") == GERMAN * 1501


def test_what_no_encoding_has_is_refused_instead_of_replaced():
    text = ASCII + "これは日本語のテキストファイルです。文字コードを判定します。\n" * 2000
    with pytest.raises(UnreadableDocument, match="no encoding that has all of its bytes.*Save it as UTF-8"):
        decode(text.encode("shift_jis") + b"\x81\x00\xff", "a.txt")
