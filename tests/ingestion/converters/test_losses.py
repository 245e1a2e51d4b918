"""What a document loses on its way in is noted: what kind of thing, how much, and where."""

import ctypes
import io
import zipfile

import pypdfium2
import pytest
from docx import Document
from docx.oxml import parse_xml
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from ragsaver.ingestion.converters import convert
from ragsaver.ingestion.notes import NoteCode, pages_of
from tests.ingestion.converters.office_files import xlsx
from tests.pdf_files import PICTURE, pdf

TEXT = ["Parrots eat seeds."]


def noted(name: str, data: bytes) -> list[tuple[str, str]]:
    return [(note.code, note.where) for note in convert(name, data).notes]


class TestPdf:
    def test_scanned_pages_among_others_are_named_and_empty_ones_are_not(self):
        data = pdf([TEXT, [], [], TEXT, [], []], drawn=dict.fromkeys((0, 1, 4, 5), PICTURE))
        assert noted("a.pdf", data) == [("pages-without-text", "pages 2, 5-6")]

    def test_letters_drawn_as_shapes_are_named_and_a_frame_is_not(self):
        document = pypdfium2.PdfDocument(pdf([TEXT, []]))
        document.new_page(612, 792).close()
        for page, shapes in ((1, 100), (2, 4)):
            shown = document[page]
            for _ in range(shapes):
                shown.insert_obj(a_line())
            shown.gen_content()
        assert noted("a.pdf", saved(document)) == [("pages-without-text", "page 2")]

    def test_text_without_a_character_map_is_named(self):
        data = pdf([TEXT, ["\\001\\002\\003\\004"], TEXT])
        assert noted("a.pdf", data) == [("unreadable-font", "page 2")]
        assert [block.page for block in convert("a.pdf", data).blocks] == [1, 3]

    def test_attached_files_are_named(self):
        document = pypdfium2.PdfDocument(pdf([TEXT]))
        for name in ("bill.xlsx", "\ud800"):
            attach(document, name)
        assert noted("a.pdf", saved(document)) == [("attachments", "bill.xlsx, file 2")]

    def test_a_whole_document_has_no_notes(self):
        assert convert("a.pdf", pdf([TEXT, TEXT])).notes == ()


def a_line() -> pypdfium2.PdfObject:
    raw = pypdfium2.raw.FPDFPageObj_CreateNewPath(10, 10)
    pypdfium2.raw.FPDFPath_LineTo(raw, 20, 20)
    pypdfium2.raw.FPDFPath_SetDrawMode(raw, 0, True)
    return pypdfium2.PdfObject(raw)


def attach(document: pypdfium2.PdfDocument, name: str) -> None:
    wide = (name + "\0").encode("utf-16-le", errors="surrogatepass")
    buffer = ctypes.cast(ctypes.create_string_buffer(wide), ctypes.POINTER(ctypes.c_ushort))
    raw = pypdfium2.raw.FPDFDoc_AddAttachment(document, buffer)
    pypdfium2.PdfAttachment(raw, document).set_data(b"1")


def saved(document: pypdfium2.PdfDocument) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


class TestOffice:
    def test_charts_of_slides_and_slides_of_pictures_are_named(self):
        deck = Presentation()
        slides = [deck.slides.add_slide(deck.slide_layouts[5]) for _ in range(2)]
        slides[0].shapes.title.text = "Sales"
        slides[1].shapes.title.text = "Profit"
        data = CategoryChartData()
        data.categories = ["May"]
        data.add_series("Tea", (3,))
        for slide in slides:
            slide.shapes.add_chart(XL_CHART_TYPE.PIE, Inches(1), Inches(1), Inches(3), Inches(3), data)
        blank = deck.slides.add_slide(deck.slide_layouts[6])
        blank.shapes.add_picture(io.BytesIO(PNG), Inches(1), Inches(1))
        slides[0].shapes.add_picture(io.BytesIO(PNG), Inches(1), Inches(1))
        deck.slides.add_slide(deck.slide_layouts[6])
        out = io.BytesIO()
        deck.save(out)
        assert noted("a.pptx", out.getvalue()) == [("pages-without-text", "slide 3"), ("objects", "slides 1-2")]
        assert convert("a.pptx", out.getvalue()).notes[1].problem.startswith("2 charts: ")

    def test_diagrams_and_embedded_files_of_a_word_document_are_counted(self):
        document = Document()
        run = document.add_paragraph("Text.").add_run()._r
        run.append(parse_xml('<a:graphicData xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
                             'uri="http://schemas.openxmlformats.org/drawingml/2006/diagram"/>'))  # fmt: skip
        run.append(parse_xml('<o:OLEObject xmlns:o="urn:schemas-microsoft-com:office:office"/>'))
        document.add_picture(io.BytesIO(PNG))
        out = io.BytesIO()
        document.save(out)
        (note,) = convert("a.docx", out.getvalue()).notes
        assert note.code is NoteCode.OBJECTS and note.problem.startswith("1 diagram, 1 embedded object: ")

    def test_formulas_that_were_never_calculated_are_counted(self):
        data = xlsx({"S": [["Name", "Sum"], ["Tea", "=1+1"], ["Rum", "=SUM(B2)"]], "T": [["=S!B2"], ["x"]]})
        (note,) = convert("a.xlsx", data).notes
        assert note.code is NoteCode.FORMULAS and note.problem.startswith("3 formulas have no calculated value")

    @pytest.mark.parametrize("cell", ["<c><f>1+1</f><v>2</v></c>", '<c t="str"><f>""</f><v></v></c>', "<c/>"])
    def test_formulas_with_their_values_and_empty_cells_are_whole(self, cell: str):
        data = xlsx({"S": [["Tea", "Rum"]]})
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
            for name in old.namelist():
                part = old.read(name)
                if name.endswith("sheet1.xml"):
                    part = part.replace(b"</row>", cell.encode() + b"</row>")
                new.writestr(name, part)
        assert convert("a.xlsx", out.getvalue()).notes == ()


def test_characters_that_rtf_does_not_tell_are_counted():
    text = b"{\\rtf1\\ansi\\ansicpg932 Text and \\'81\\'00 more.\\par}"
    assert [note.code for note in convert("a.rtf", text).notes] == [NoteCode.REPLACED_CHARACTERS]
    assert convert("a.rtf", b"{\\rtf1\\ansi Text.\\par}").notes == ()


@pytest.mark.parametrize(
    ("numbers", "said"),
    [([3], "page 3"), ([3, 4], "pages 3-4"), ([1, 3, 4, 5, 9], "pages 1, 3-5, 9")],
)
def test_pages_are_written_as_a_person_writes_them(numbers: list[int], said: str):
    assert pages_of(numbers) == said


def test_of_very_many_places_the_first_are_named():
    said = pages_of(range(1, 100, 2))
    assert said.startswith("pages 1, 3, 5") and said.endswith("39 and 30 more")


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
