"""PDF: its text page by page, paragraphs rejoined, headings where its outline names them.

A scan without a text layer is named as one.
"""

import re
import statistics
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pypdfium2
from pypdfium2.raw import FPDF_ERR_PASSWORD

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.blocks import Block, ParsedDocument

# PDFium is not thread-safe: one document at a time in a process.
_ONE_AT_A_TIME = threading.Lock()

_HYPHEN_BREAK = re.compile(r"(?<=[a-z])[-\u00ad\ufffe\x02]\n(?=[a-z])")
# A font without a character map gives text of control characters: nobody can read or find it.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CONTROL_SHARE = 0.02
_SENTENCE_END = re.compile(r"[.!?:]['\"”’)\]]*$")


@dataclass(frozen=True, slots=True)
class OutlineEntry:
    """A heading of the document's outline: `level` from 1, `page` from 1."""

    title: str
    level: int
    page: int


def from_pdf(data: bytes, name: str, *, max_pages: int = 2000) -> ParsedDocument:
    """Headings and paragraphs of a PDF, each with its page."""
    with _ONE_AT_A_TIME:
        pages, outline, title = _read(data, name, max_pages)
    if not any(page.strip() for page in pages):
        raise UnreadableDocument(
            f"has no text layer: its {len(pages)} pages are pictures",
            where=name,
            remedy="Run it through OCR first (for example `ocrmypdf`)",
        )
    blocks = [
        block
        for number, page in enumerate(pages, 1)
        for block in page_blocks(page, number, [entry for entry in outline if entry.page == number])
    ]
    return ParsedDocument(tuple(blocks), title or None)


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


def _read(data: bytes, name: str, max_pages: int) -> tuple[list[str], list[OutlineEntry], str]:
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == FPDF_ERR_PASSWORD or "assword" in str(error):
            raise UnreadableDocument("is encrypted", where=name, remedy="Remove its password first") from None
        raise UnreadableDocument(
            f"is no readable PDF: {error}", where=name, remedy="It may be cut off: fetch or export it again"
        ) from None
    try:
        if len(document) > max_pages:
            raise UnreadableDocument(
                f"has {len(document)} pages, {max_pages} are allowed",
                where=name,
                remedy="Split it, or raise `ingestion.max_pdf_pages`",
            )
        pages: list[str] = []
        for page in document:
            text_page = page.get_textpage()
            pages.append(text_page.get_text_range().replace("\r\n", "\n").replace("\r", "\n"))
            text_page.close()
            page.close()
        return pages, _outline(document), str(document.get_metadata_dict().get("Title", "")).strip()
    except pypdfium2.PdfiumError as error:
        raise UnreadableDocument(f"a page can't be read: {error}", where=name) from None
    finally:
        document.close()


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
    joined = (" ".join(group) for group in found if group)
    return [text for text in joined if len(_CONTROL.findall(text)) <= _CONTROL_SHARE * len(text)]
