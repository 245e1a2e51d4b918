"""What is kept of Office, OpenDocument, RTF and Outlook files."""

import datetime
import io
from pathlib import Path

import pytest
from docx import Document
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml.ns import nsdecls
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.blocks import Block
from ragsaver.ingestion.converters import convert
from tests.ingestion.converters.office_files import docx, odt, pptx, xlsx

CONTENT = "application/vnd.openxmlformats-officedocument.wordprocessingml."
SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "data" / "formats"
RTF = (
    rb"{\rtf1\ansi{\fonttbl{\f0 Arial;}}{\info{\title A \{b\}}}\pard Gr\'f6\u223?e \\{\b bold}.\par"
    rb"{\pict\bin4 {}}{}\trowd a\cell b\cell\row\pard Last.\par}"
)


class TestDocx:
    def test_headings_lists_tables_code_and_wrapped_text_stand_in_the_order_of_the_body(self):
        parsed = convert("a.docx", docx())
        assert parsed.title == "Handbook"
        assert list(parsed.blocks) == [
            Block("heading", "Handbook", level=1),
            Block("heading", "Travel", level=1),
            Block("paragraph", "A permit is always needed."),
            Block("heading", "Costs", level=2),
            Block("list", "- Train\n- Second class\n- Ask first"),
            Block("table", "Place | Price\nBonn | 12\nUlm | 30", header="Place | Price"),
            Block("code", "def f():\n    return 1"),
            Block("heading", "By outline level", level=3),
            Block("paragraph", "In a content control."),
        ]

    def test_footnotes_and_endnotes_stand_at_the_end(self):
        document = Document()
        document.add_paragraph("Text.")
        for kind, said in ((RELATIONSHIP_TYPE.ENDNOTES, "See Bonn."), (RELATIONSHIP_TYPE.FOOTNOTES, "See Ulm.")):
            root = kind.rpartition("/")[2]
            parted = '<w:note w:type="separator"><w:p><w:r><w:separator/></w:r></w:p></w:note>'
            xml = (
                f"<w:{root} {nsdecls('w')}>{parted}<w:note><w:p><w:r><w:t>{said}</w:t></w:r></w:p></w:note></w:{root}>"
            )
            part = Part(PackURI(f"/word/{root}.xml"), f"{CONTENT}{root}+xml", xml.encode(), document.part.package)
            document.part.relate_to(part, kind)
        out = io.BytesIO()
        document.save(out)
        assert [block.text for block in convert("a.docx", out.getvalue()).blocks] == [
            "Text.",
            "- See Ulm.",
            "- See Bonn.",
        ]


class TestPptx:
    def test_titles_are_headings_and_slides_are_pages(self):
        parsed = convert("a.pptx", pptx())
        assert parsed.title == "Plan"
        assert list(parsed.blocks) == [
            Block("heading", "Plan", level=1, page=1),
            Block("list", "- Think\n  - Twice", page=1),
            Block("paragraph", "Speak slowly.", page=1),
            Block("heading", "Slide 2", level=1, page=2),
            Block("table", "Who | When\nAda | Monday", page=2, header="Who | When"),
            Block("paragraph", "In a group.", page=2),
        ]


class TestXlsx:
    def test_sheets_are_headings_and_empty_rows_part_tables(self):
        first = [["Prices of May"], ["Name", "Price"], ["Tea", 2.5], ["Rum", 3.0], [], ["Open"], [], [None, 1, 2]]
        parsed = convert("a.xlsx", xlsx({"Sold": first, "Empty": [], "Days": [["On"], [datetime.date(2026, 5, 1)]]}))
        assert list(parsed.blocks) == [
            Block("heading", "Sold", level=1),
            Block("paragraph", "Prices of May"),
            Block("table", "Name | Price\nTea | 2.5\nRum | 3", header="Name | Price"),
            Block("paragraph", "Open"),
            Block("table", "1 | 2"),
            Block("heading", "Days", level=1),
            Block("paragraph", "On"),
            Block("paragraph", "2026-05-01"),
        ]

    def test_a_long_column_is_a_table(self):
        parsed = convert("a.xlsx", xlsx({"S": [["Town"], ["Bonn"], ["Ulm"]]}))
        assert parsed.blocks[1] == Block("table", "Town\nBonn\nUlm", header="Town")

    def test_a_small_file_that_spans_a_huge_sheet_is_refused(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("ragsaver.ingestion.converters.xlsx._MAX_CELLS", 1000)
        with pytest.raises(UnreadableDocument, match="spans more than 1,000 cells"):
            convert("a.xlsx", xlsx({"S": [[None] * 500 + ["x"]] * 2}))


class TestOdt:
    def test_headings_lists_tables_and_code_are_kept(self):
        parsed = convert(
            "a.odt",
            odt(
                '<text:tracked-changes><text:p>gone</text:p></text:tracked-changes><text:h text:outline-level="1">Head'
                '</text:h><text:p>One<text:s text:c="2"/>two<office:annotation><text:p>hm</text:p></office:annotation>.'
                "</text:p><text:list><text:list-item><text:p>a</text:p><text:list><text:list-item><text:p>b</text:p>"
                "</text:list-item></text:list></text:list-item></text:list><table:table><table:table-header-rows>"
                "<table:table-row><table:table-cell><text:p>k</text:p></table:table-cell><table:table-cell>"
                "<text:p>7</text:p></table:table-cell></table:table-row></table:table-header-rows><table:table-row>"
                "<table:table-cell><text:p>x</text:p></table:table-cell><table:table-cell><text:p>1</text:p>"
                "</table:table-cell></table:table-row></table:table>"
                '<text:p text:style-name="Preformatted_20_Text">a:</text:p>'
                '<text:p text:style-name="Preformatted_20_Text"><text:s text:c="2"/>b</text:p>'
            ),
        )
        assert parsed.title == "Head"
        assert list(parsed.blocks) == [
            Block("heading", "Head", level=1),
            Block("paragraph", "One  two."),
            Block("list", "- a\n  - b"),
            Block("table", "k | 7\nx | 1", header="k | 7"),
            Block("code", "a:\n  b"),
        ]

    def test_an_encrypted_one_is_named_as_such(self):
        with pytest.raises(UnreadableDocument, match="is encrypted"):
            convert("a.odt", odt("<text:p>x</text:p>", **{"META-INF/manifest": "<m><encryption-data/></m>"}))


class TestRtf:
    def test_outline_levels_are_headings_and_cells_make_tables(self):
        text = (
            r"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}}{\stylesheet{\s1\outlinelevel0 heading 1;}}"
            r"\pard\s1\outlinelevel0 Gr\'f6\u223?e\par\pard Some text.\par"
            r"\trowd a\cell b\cell\row\trowd c\cell d\cell\row\pard{\listtext\bullet\tab}one\par{\listtext\bullet\tab}two\par}"
        )
        parsed = convert("a.rtf", text.encode())
        assert parsed.title == "Größe"
        assert list(parsed.blocks) == [
            Block("heading", "Größe", level=1),
            Block("paragraph", "Some text."),
            Block("table", "a | b\nc | d", header="a | b"),
            Block("list", "- one\n- two"),
        ]

    @pytest.mark.parametrize("end", ["}", "}\r\n", "}\0\0", "}}"])
    def test_braces_that_are_text_or_raw_bytes_open_no_group(self, end: str):
        text = r"{\rtf1\ansi Sets \{ a, b\par A path \\{\b C:\\} ends.{\pict\bin5 {{{{{}\par" + end
        assert Block("paragraph", "Sets { a, b") in convert("a.rtf", text.encode()).blocks

    @given(st.integers(0, len(RTF) - 1))
    def test_one_that_is_cut_anywhere_is_refused(self, upto: int):
        with pytest.raises(UnreadableDocument) as caught:
            convert("a.rtf", RTF[:upto])
        assert caught.value.remedy
        assert upto < 5 or "is cut off" in str(caught.value)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample files are not beside this checkout")
@pytest.mark.parametrize("quarter", [1, 2, 3, 3.99])
def test_an_outlook_message_that_is_cut_is_refused(quarter: float):
    data = (SAMPLES / "msg" / "sample.msg").read_bytes()
    for upto in (int(len(data) * quarter / 4), int(len(data) * quarter / 4) // 512 * 512):
        with pytest.raises(UnreadableDocument, match="makes no sense"):
            convert("sample.msg", data[:upto])


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample files are not beside this checkout")
def test_an_outlook_message_says_who_wrote_what_and_names_its_attachments():
    parsed = convert("sample.msg", (SAMPLES / "msg" / "sample.msg").read_bytes())
    assert parsed.title == "This is a Subject"
    about = parsed.blocks[1].text.split("\n")
    assert [line.partition(":")[0] for line in about] == ["From", "To", "Cc", "Date"]
    assert Block("paragraph", "Dear tester,") in parsed.blocks
    assert parsed.blocks[-1] == Block("list", "Attachment: sample_pdf_1.pdf")
