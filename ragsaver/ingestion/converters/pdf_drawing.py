"""What PDFium tells of a page beside its text: its lines, and where each character stands."""

import ctypes
from collections.abc import Iterator

import pypdfium2
from pypdfium2 import raw

from ragsaver.ingestion.converters.pdf_columns import Glyph
from ragsaver.ingestion.converters.pdf_tables import Char, Line

# Beyond this a page is a drawing; it is not looked through for tables.
_MAX_OBJECTS = 5000
_MAX_SEGMENTS = 20_000
_STRAIGHT = 0.5


def lines_of(page: pypdfium2.PdfPage) -> tuple[list[Line], list[Line]]:
    """The horizontal and the upright lines that are drawn, sides of boxes too; none on a page that is turned."""
    horizontal: list[Line] = []
    upright: list[Line] = []
    count = raw.FPDFPage_CountObjects(page)
    if count > _MAX_OBJECTS or page.get_rotation():
        return [], []
    for number in range(count):
        found = raw.FPDFPage_GetObject(page, number)
        if raw.FPDFPageObj_GetType(found) != raw.FPDF_PAGEOBJ_PATH or not _is_drawn(found):
            continue
        for (x, y), (to_x, to_y) in _sides(found):
            if abs(y - to_y) <= _STRAIGHT < abs(x - to_x):
                horizontal.append(Line(y, min(x, to_x), max(x, to_x)))
            elif abs(x - to_x) <= _STRAIGHT < abs(y - to_y):
                upright.append(Line(x, min(y, to_y), max(y, to_y)))
        if len(horizontal) + len(upright) > _MAX_SEGMENTS:
            return [], []
    return horizontal, upright


def chars_of(text_page: pypdfium2.PdfTextPage) -> list[Char]:
    """The page's characters in the order of its text."""
    found: list[Char] = []
    box = [ctypes.c_double() for _ in range(4)]
    left, right, bottom, top = box
    places = [ctypes.byref(side) for side in box]
    high = 0
    for number in range(raw.FPDFText_CountChars(text_page)):
        text, high = _letter(raw.FPDFText_GetUnicode(text_page, number), high)
        drawn = raw.FPDFText_IsGenerated(text_page, number) != 1 and raw.FPDFText_GetCharBox(text_page, number, *places)
        centre = ((left.value + right.value) / 2, (bottom.value + top.value) / 2) if drawn else None
        found.append(Char(text, centre))
    return found


def glyphs_of(text_page: pypdfium2.PdfTextPage) -> list[Glyph]:
    """The characters that are drawn, without spaces."""
    found: list[Glyph] = []
    box, x, base = raw.FS_RECTF(), ctypes.c_double(), ctypes.c_double()
    spaced = False
    for number in range(raw.FPDFText_CountChars(text_page)):
        text = chr(raw.FPDFText_GetUnicode(text_page, number))
        if text.isspace() or raw.FPDFText_IsGenerated(text_page, number) == 1:
            spaced = True
            continue
        raw.FPDFText_GetLooseCharBox(text_page, number, box)
        raw.FPDFText_GetCharOrigin(text_page, number, x, base)
        found.append(Glyph(text, box.left, box.right, box.top - box.bottom, base.value, spaced))
        spaced = False
    return found


def _letter(unit: int, high: int) -> tuple[str, int]:
    """What a unit of UTF-16 adds to the text, and what of it waits for the other half of its letter.

    :param high: what waited; a half without the other one is nothing.
    """
    if 0xD800 <= unit < 0xDC00:
        return "", unit
    if 0xDC00 <= unit < 0xE000:
        return chr(0x10000 + (high - 0xD800 << 10) + unit - 0xDC00) if high else "", 0
    return chr(unit) if 0 < unit <= 0x10FFFF else "", 0


def _is_drawn(path: raw.FPDF_PAGEOBJECT) -> bool:
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    raw.FPDFPath_GetDrawMode(path, fill, stroke)
    return bool(fill.value or stroke.value)


def _sides(path: raw.FPDF_PAGEOBJECT) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """The straight pieces of a path, as they lie on the page."""
    turned = raw.FS_MATRIX()
    raw.FPDFPageObj_GetMatrix(path, turned)
    x, y = ctypes.c_float(), ctypes.c_float()
    begin = before = (0.0, 0.0)
    for number in range(raw.FPDFPath_CountSegments(path)):
        segment = raw.FPDFPath_GetPathSegment(path, number)
        raw.FPDFPathSegment_GetPoint(segment, x, y)
        point = (
            turned.a * x.value + turned.c * y.value + turned.e,
            turned.b * x.value + turned.d * y.value + turned.f,
        )
        kind = raw.FPDFPathSegment_GetType(segment)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            begin = point
        elif kind == raw.FPDF_SEGMENT_LINETO:
            yield before, point
        before = point
        if raw.FPDFPathSegment_GetClose(segment):
            yield before, begin
