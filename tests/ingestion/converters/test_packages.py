"""What a ZIP package may not do: each is refused before a parser sees it."""

import io
import zipfile

import pytest

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.converters import convert
from ragsaver.ingestion.converters.limits import ConversionLimits
from tests.ingestion.converters.office_files import archive, changed, docx, odt, pptx, xlsx

MAIN_PARTS = {
    "a.docx": (docx, "word/document.xml"),
    "a.pptx": (pptx, "ppt/presentation.xml"),
    "a.xlsx": (lambda: xlsx({"S": [["a", "b"]]}), "xl/workbook.xml"),
    "a.odt": (lambda: odt("<text:p>x</text:p>"), "content.xml"),
}
LAUGHS = (
    '<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
    "<lolz>&c;</lolz>"
)
EXTERNAL = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]><x>&e;</x>'


def refused(name: str, data: bytes, said: str, **limits: int) -> None:
    with pytest.raises(UnreadableDocument, match=said) as caught:
        convert(name, data, limits=ConversionLimits(**limits))
    assert caught.value.where == name and caught.value.remedy


@pytest.mark.parametrize("name", MAIN_PARTS)
@pytest.mark.parametrize(
    "part",
    [
        LAUGHS,
        EXTERNAL,
        "<?xml version='1.0'?><!-- " + "long " * 30_000 + "-->" + LAUGHS,
        ("<?xml version='1.0' encoding='UTF-16'?>" + LAUGHS).encode("utf-16"),
    ],
    ids=["laughs", "external", "after a long comment", "in UTF-16"],
)
def test_xml_with_entities_is_refused(name: str, part: str | bytes):
    make, main = MAIN_PARTS[name]
    refused(name, changed(make(), {main: part}), "declares a document type")


def test_xml_in_an_encoding_that_hides_what_it_says_is_refused():
    part = b"<?xml version='1.0' encoding='UTF-7'?>+ADwAIQ-DOCTYPE x>"
    refused("a.docx", changed(docx(), {"word/document.xml": part}), "in the encoding 'UTF-7'")


def test_pictures_may_declare_a_document_type():
    assert convert("a.docx", changed(docx(), {"word/media/a.svg": "<!DOCTYPE svg><svg/>"})).title == "Handbook"


@pytest.mark.parametrize("name", MAIN_PARTS)
def test_what_unpacks_to_too_much_is_refused(name: str):
    bomb = changed(MAIN_PARTS[name][0](), {"zz.bin": bytes(30 * 2**20)})
    refused(name, bomb, "times its size, 100 times are allowed")
    refused(name, bomb, r"unpacks to 3\d MB, 20 are allowed", max_decompressed_mb=20)
    assert convert(name, bomb, limits=ConversionLimits(max_compression_ratio=10_000)).blocks


@pytest.mark.parametrize("name", MAIN_PARTS)
def test_a_main_part_that_unpacks_to_too_much_is_refused(name: str):
    make, main = MAIN_PARTS[name]
    refused(name, changed(make(), {main: " " * 30 * 2**20}), "times its size, 100 times are allowed")


@pytest.mark.parametrize("name", MAIN_PARTS)
def test_an_entry_that_lies_about_its_size_is_refused(name: str):
    data = bytearray(changed(MAIN_PARTS[name][0](), {"zz.bin": bytes(5 * 2**20)}))
    central = data.rindex(b"PK\x01\x02")
    assert b"zz.bin" in data[central:]
    data[central + 24 : central + 28] = (1000).to_bytes(4, "little")
    refused(name, bytes(data), "is cut off or damaged")


@pytest.mark.parametrize("entry", ["../a.xml", "word/../../a.xml", "/etc/a", "C:\\a", "word\\..\\..\\a", "a\0.xml"])
def test_names_that_lead_out_of_the_archive_are_refused(entry: str):
    data = archive({"word/document.xml": "<x/>", "N" * len(entry): "x"})
    refused("a.docx", data.replace(b"N" * len(entry), entry.encode()), "leads out of it")


def test_an_encrypted_archive_is_named_as_such():
    data = bytearray(archive({"word/document.xml": "<x/>"}))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    refused("a.docx", bytes(data), "is encrypted")


@pytest.mark.parametrize("name", MAIN_PARTS)
@pytest.mark.parametrize("share", [0.2, 0.7, 0.99])
def test_a_cut_file_is_an_error_of_its_own(name: str, share: float):
    data = MAIN_PARTS[name][0]()
    refused(name, data[: int(len(data) * share)], "is cut off or damaged")


@pytest.mark.parametrize("name", MAIN_PARTS)
def test_a_damaged_part_is_an_error_of_its_own(name: str):
    make, main = MAIN_PARTS[name]
    refused(name, changed(make(), {main: "<x>"}), "makes no sense")
    refused(name, changed(make(), {main: "no XML"}), "is no XML")


def test_one_kind_under_the_name_of_another_is_told():
    refused("a.docx", xlsx({"S": [["a"]]}), "is a workbook, not a Word document as its name says")
    refused("a.xlsx", archive({"a.txt": "x"}), "is a ZIP archive, not a workbook")


def test_a_flipped_byte_gives_blocks_or_a_clear_error():
    whole = docx()
    with zipfile.ZipFile(io.BytesIO(whole)) as package:
        end = package.getinfo("word/document.xml").header_offset + 2000
    for at in range(0, end, 97):
        data = bytearray(whole)
        data[at] ^= 0xFF
        try:
            assert convert("a.docx", bytes(data)).blocks
        except UnreadableDocument as error:
            assert error.where == "a.docx"
