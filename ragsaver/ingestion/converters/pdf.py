"""PDF: its text page by page, paragraphs rejoined. A scan without a text layer is named as one."""

import re
import statistics
import threading

import pypdfium2
from pypdfium2.raw import FPDF_ERR_PASSWORD

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.blocks import Block, ParsedDocument

# PDFium is not thread-safe: one document at a time in a process.
_ONE_AT_A_TIME = threading.Lock()

_HYPHEN_BREAK = re.compile(r"(?<=[a-z])[-\u00ad\ufffe\x02]\n(?=[a-z])")
_SENTENCE_END = re.compile(r"[.!?:]['\"”’)\]]*$")


def from_pdf(data: bytes, name: str, *, max_pages: int = 2000) -> ParsedDocument:
    """Paragraphs of a PDF, each with its page."""
    with _ONE_AT_A_TIME:
        pages, title = _read(data, name, max_pages)
    if not any(page.strip() for page in pages):
        raise UnreadableDocument(
            f"has no text layer: its {len(pages)} pages are pictures",
            where=name,
            remedy="Run it through OCR first (for example `ocrmypdf`)",
        )
    blocks = [
        Block("paragraph", paragraph, page=number)
        for number, page in enumerate(pages, 1)
        for paragraph in paragraphs(page)
    ]
    return ParsedDocument(tuple(blocks), title or None)


def _read(data: bytes, name: str, max_pages: int) -> tuple[list[str], str]:
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
        return pages, str(document.get_metadata_dict().get("Title", "")).strip()
    except pypdfium2.PdfiumError as error:
        raise UnreadableDocument(f"a page can't be read: {error}", where=name) from None
    finally:
        document.close()


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
