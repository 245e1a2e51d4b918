"""PDF: its text page by page, paragraphs rejoined, headings where its outline names them, tables where they are clear.

A scan without a text layer is named as one, and so are scanned pages among others.
"""

import contextlib
import re
import statistics
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pypdfium2
from pypdfium2.raw import FPDF_ERR_PASSWORD, FPDF_PAGEOBJ_IMAGE, FPDF_PAGEOBJ_PATH

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.blocks import Block, ParsedDocument
from ragsaver.ingestion.converters.limits import ConversionLimits
from ragsaver.ingestion.converters.pdf_columns import column_grids, may_have_columns
from ragsaver.ingestion.converters.pdf_drawing import chars_of, glyphs_of, lines_of
from ragsaver.ingestion.converters.pdf_form import fields_of
from ragsaver.ingestion.converters.pdf_streams import check_streams
from ragsaver.ingestion.converters.pdf_tables import Rows, grids, split
from ragsaver.ingestion.converters.rows import table
from ragsaver.ingestion.notes import Note, NoteCode, attachments_note, pages_of, pages_without_text

# PDFium is not thread-safe: one document at a time in a process.
_ONE_AT_A_TIME = threading.Lock()

_HYPHEN_BREAK = re.compile(r"(?<=[a-z])[-\u00ad\ufffe\x02]\n(?=[a-z])")
# A font without a character map gives text of control characters: nobody can read or find it.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CONTROL_SHARE = 0.02
# A page without text that has so many lines and shapes shows more than a frame: letters drawn as shapes, for example.
_DRAWING_PATHS = 100
_SENTENCE_END = re.compile(r"[.!?:]['\"”’)\]]*$")


@dataclass(frozen=True, slots=True)
class OutlineEntry:
    """A heading of the document's outline: `level` from 1, `page` from 1."""

    title: str
    level: int
    page: int


@dataclass(frozen=True, slots=True)
class _Read:
    """What a file holds: the text of its pages, and what is no text.

    :ivar pages: the text of each, in parts between its tables, and the rows of these.
    :ivar fields: of a form that are filled in, by the page.
    :ivar pictures: pages that show something and have no text.
    :ivar attached: names of the files in it.
    """

    pages: list[list[str | Rows]]
    fields: dict[int, list[str]]
    outline: list[OutlineEntry]
    title: str
    pictures: list[int]
    attached: list[str]


def from_pdf(data: bytes, name: str, limits: ConversionLimits) -> ParsedDocument:
    """Headings and paragraphs of a PDF, each with its page."""
    check_streams(data, name, limits.max_decompressed_mb)
    with _ONE_AT_A_TIME:
        found = _read(data, name, limits.max_pdf_pages)
    if not any(map(_has_text, found.pages)) and not found.fields:
        raise UnreadableDocument(
            f"has no text layer: its {len(found.pages)} pages are pictures",
            where=name,
            remedy="Run it through OCR first (for example `ocrmypdf`)",
        )
    blocks = [
        block
        for number, page in enumerate(found.pages, 1)
        for block in (
            *_blocks(page, number, [entry for entry in found.outline if entry.page == number]),
            *_field_blocks(found.fields.get(number, ()), number),
        )
    ]
    unreadable = sorted({block.page or 0 for block in blocks if not _is_readable(block.text)})
    readable = tuple(block for block in blocks if _is_readable(block.text))
    return ParsedDocument(readable, found.title or None, tuple(_notes(found, unreadable)))


def _notes(found: _Read, unreadable: Sequence[int]) -> Iterator[Note]:
    if found.pictures:
        yield pages_without_text(found.pictures)
    if unreadable:
        yield Note(NoteCode.UNREADABLE_FONT, "text in a font without a character map is left out", pages_of(unreadable))
    if found.attached:
        yield attachments_note(found.attached)


def _has_text(page: Sequence[str | Rows]) -> bool:
    return any(not isinstance(part, str) or part.strip() for part in page)


def _blocks(page: Sequence[str | Rows], number: int, outline: Sequence[OutlineEntry]) -> Iterator[Block]:
    """A page's blocks in their order."""
    for part in page:
        if isinstance(part, str):
            found = list(page_blocks(part, number, outline))
            told = {block.text for block in found if block.kind == "heading"}
            outline = [entry for entry in outline if entry.title.strip() not in told]
            yield from found
        elif (block := table(part, page=number)) is not None:
            yield block


def _field_blocks(fields: Sequence[str], number: int) -> Iterator[Block]:
    if fields:
        yield Block("list", "\n".join(f"- {field}" for field in fields), page=number)


def page_blocks(page: str, number: int, outline: Sequence[OutlineEntry]) -> Iterator[Block]:
    """A page's headings and paragraphs; a heading is a line, or two, that say what an outline entry says."""
    lines = page.split("\n")
    named = {_letters(entry.title): entry for entry in outline}
    start = at = 0
    while at < len(lines):
        length = next((n for n in (1, 2) if _letters("".join(lines[at : at + n])) in named), 0)
        if not length:
            at += 1
            continue
        entry = named.pop(_letters("".join(lines[at : at + length])))
        yield from _paragraph_blocks(lines[start:at], number)
        yield Block("heading", entry.title.strip(), level=entry.level, page=number)
        start = at = at + length
    yield from _paragraph_blocks(lines[start:], number)


def _paragraph_blocks(lines: Sequence[str], number: int) -> Iterator[Block]:
    return (Block("paragraph", paragraph, page=number) for paragraph in paragraphs("\n".join(lines)))


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _read(data: bytes, name: str, max_pages: int) -> _Read:
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == FPDF_ERR_PASSWORD or "assword" in str(error):
            raise UnreadableDocument("is encrypted", where=name, remedy="Remove its password first") from None
        raise UnreadableDocument(
            f"is no readable PDF: {str(error).rstrip('.')}",
            where=name,
            remedy="It may be cut off: fetch or export it again",
        ) from None
    try:
        if len(document) > max_pages:
            raise UnreadableDocument(
                f"has {len(document)} pages, {max_pages} are allowed",
                where=name,
                remedy="Split it, or raise `ingestion.max_pdf_pages`",
            )
        with contextlib.suppress(pypdfium2.PdfiumError):  # a broken form leaves the text as it is
            document.init_forms()
        pages: list[list[str | Rows]] = []
        fields: dict[int, list[str]] = {}
        pictures: list[int] = []
        for page in document:
            text_page = page.get_textpage()
            pages.append(_parts(page, text_page))
            text_page.close()
            if not _has_text(pages[-1]) and _shows_something(page):
                pictures.append(len(pages))
            if filled := fields_of(document, page):
                fields[len(pages)] = filled
            page.close()
        title = str(document.get_metadata_dict().get("Title", "")).strip()
        return _Read(pages, fields, _outline(document), title, pictures, _attached(document))
    except pypdfium2.PdfiumError as error:
        raise UnreadableDocument(f"a page can't be read: {str(error).rstrip('.')}", where=name) from None
    finally:
        document.close()


def _parts(page: pypdfium2.PdfPage, text_page: pypdfium2.PdfTextPage) -> list[str | Rows]:
    horizontal, upright = lines_of(page)
    # Where each character stands takes long to ask: only a page with a grid, or rows of numbers, is worth it.
    found = grids(horizontal, upright)
    text = text_page.get_text_range()
    if may_have_columns(text) and not page.get_rotation():
        found += column_grids(glyphs_of(text_page), found)
    parts = split(chars_of(text_page), found) if found else [text]
    return [part.replace("\r\n", "\n").replace("\r", "\n") if isinstance(part, str) else part for part in parts]


def _shows_something(page: pypdfium2.PdfPage) -> bool:
    """Whether a page without text has a picture, or is drawn; an empty page may have a frame."""
    paths = 0
    for found in page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE, FPDF_PAGEOBJ_PATH]):
        paths += found.type == FPDF_PAGEOBJ_PATH
        if found.type == FPDF_PAGEOBJ_IMAGE or paths >= _DRAWING_PATHS:
            return True
    return False


def _attached(document: pypdfium2.PdfDocument) -> list[str]:
    names: list[str] = []
    for number in range(document.count_attachments()):
        try:
            names.append(document.get_attachment(number).get_name())
        except (pypdfium2.PdfiumError, UnicodeDecodeError):
            names.append(f"file {number + 1}")
    return names


def _outline(document: pypdfium2.PdfDocument) -> list[OutlineEntry]:
    found: list[OutlineEntry] = []
    for bookmark in document.get_toc(max_depth=6):
        target = bookmark.get_dest()
        index = target.get_index() if target else None
        title = bookmark.get_title() or ""
        if index is not None and _letters(title):
            found.append(OutlineEntry(title, bookmark.level + 1, index + 1))
    return found


def paragraphs(page: str) -> list[str]:
    """Rejoin a page's lines: a line well short of the usual width that ends a sentence ends a paragraph."""
    text = _HYPHEN_BREAK.sub("", page).replace("\ufffe", "").replace("\x02", "")
    lines = [line.strip() for line in text.split("\n")]
    widths = [len(line) for line in lines if line]
    usual = statistics.quantiles(widths, n=4)[2] if len(widths) > 1 else 0
    found: list[list[str]] = [[]]
    for line in lines:
        if not line:
            found.append([])
            continue
        found[-1].append(line)
        if len(line) < 0.8 * usual and _SENTENCE_END.search(line):
            found.append([])
    return [" ".join(group) for group in found if group]


def _is_readable(text: str) -> bool:
    return len(_CONTROL.findall(text)) <= _CONTROL_SHARE * len(text)
