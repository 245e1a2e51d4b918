"""Office files for tests, written by the libraries themselves, and packages that no office program would write."""

import io
import zipfile

from docx import Document
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Inches
from openpyxl import Workbook
from pptx import Presentation

_ODF = "urn:oasis:names:tc:opendocument:xmlns:"
_SPACES = " ".join(f'xmlns:{name}="{_ODF}{name}:1.0"' for name in ("office", "text", "table", "style", "drawing"))


def docx() -> bytes:
    """A title, headings, both kinds of list, a table, a comment's worth of everything else."""
    document = Document()
    document.add_heading("Handbook", 0)
    document.add_heading("Travel", 1)
    paragraph = document.add_paragraph("A permit is ")
    _insertion(paragraph, "always ")
    paragraph.add_run("needed.")
    document.add_heading("Costs", 2)
    for text, style in (("Train", "List Bullet"), ("Second class", "List Bullet 2"), ("Ask first", "List Number")):
        document.add_paragraph(text, style)
    rows = document.add_table(rows=0, cols=2)
    for row in (("Place", "Price"), ("Bonn", "12"), ("Ulm", "30")):
        for cell, text in zip(rows.add_row().cells, row, strict=True):
            cell.text = text
    code = document.styles.add_style("Source Code", 1)
    document.add_paragraph("def f():", code)
    document.add_paragraph("    return 1", code)
    outlined = document.add_paragraph("By outline level")
    level = OxmlElement("w:outlineLvl")
    level.set(qn("w:val"), "2")
    outlined._p.get_or_add_pPr().append(level)
    _content_control(document, "In a content control.")
    return _saved(document)


def _insertion(paragraph, text: str) -> None:
    inserted = OxmlElement("w:ins")
    run = OxmlElement("w:r")
    words = OxmlElement("w:t")
    words.text = text
    run.append(words)
    inserted.append(run)
    paragraph._p.append(inserted)


def _content_control(document, text: str) -> None:
    paragraph = document.add_paragraph(text)
    control, content = OxmlElement("w:sdt"), OxmlElement("w:sdtContent")
    control.append(content)
    paragraph._p.addprevious(control)
    content.append(paragraph._p)


def pptx() -> bytes:
    deck = Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "Plan"
    frame = first.placeholders[1].text_frame
    frame.text = "Think"
    point = frame.add_paragraph()
    point.text, point.level = "Twice", 1
    first.notes_slide.notes_text_frame.text = "Speak slowly."
    second = deck.slides.add_slide(deck.slide_layouts[6])
    cells = second.shapes.add_table(2, 2, Inches(1), Inches(1), Inches(4), Inches(1)).table
    for n, text in enumerate(("Who", "When", "Ada", "Monday")):
        cells.cell(n // 2, n % 2).text = text
    group = second.shapes.add_group_shape()
    group.shapes.add_textbox(Inches(1), Inches(3), Inches(4), Inches(1)).text_frame.text = "In a group."
    deck.slides.add_slide(deck.slide_layouts[6])  # empty
    return _saved(deck)


def slides(**texts: str) -> bytes:
    """A deck of a slide for each: its title, and one sentence."""
    deck = Presentation()
    for title, text in texts.items():
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text_frame.text = text
    return _saved(deck)


def xlsx(sheets: dict[str, list[list[object]]]) -> bytes:
    book = Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    return _saved(book)


def odt(body: str, **parts: str) -> bytes:
    """An OpenDocument text with this XML as its text; `parts` are further entries by their stems."""
    content = (
        f"<?xml version='1.0' encoding='UTF-8'?><office:document-content {_SPACES}><office:body>"
        f"<office:text>{body}</office:text></office:body></office:document-content>"
    )
    return archive({"content.xml": content, **{f"{stem}.xml": text for stem, text in parts.items()}})


def archive(entries: dict[str, str | bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in entries.items():
            package.writestr(name, content)
    return stream.getvalue()


def changed(package: bytes, entries: dict[str, str | bytes]) -> bytes:
    """The package with these entries in place of, or beside, its own."""
    with zipfile.ZipFile(io.BytesIO(package)) as old:
        return archive({**{name: old.read(name) for name in old.namelist()}, **entries})


def _saved(document) -> bytes:
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()
