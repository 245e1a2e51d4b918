"""From a file's bytes to blocks: one converter a format, chosen by the name and checked against the bytes."""

from collections.abc import Callable
from pathlib import PurePosixPath

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.blocks import ParsedDocument

MARKDOWN, TEXT, HTML, PDF = "markdown", "text", "html", "pdf"

FORMATS: dict[str, str] = {
    ".md": MARKDOWN,
    ".mdx": MARKDOWN,
    ".markdown": MARKDOWN,
    ".txt": TEXT,
    ".html": HTML,
    ".htm": HTML,
    ".pdf": PDF,
}

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
)


def format_of(name: str) -> str | None:
    """The format that a file's name says; None if it is not one that can be read."""
    return FORMATS.get(PurePosixPath(name).suffix.lower())


def convert(name: str, data: bytes, format: str | None = None, *, max_pdf_pages: int = 2000) -> ParsedDocument:
    """Convert a document.

    :param name: the source's name, for its suffix and for errors.
    :param format: `markdown`, `text`, `html` or `pdf`; from the name if None.
    :raises UnreadableDocument: if it is no such format, broken, or holds no text.
    """
    kind = format or format_of(name)
    seems = what_it_is(data)
    if kind is None:
        raise UnreadableDocument(
            f"this kind of file can't be read{f': it is {seems}' if seems else ''}",
            where=name,
            remedy=f"Kinds that can: {', '.join(sorted(FORMATS))}",
        )
    if (kind == PDF) != (seems == "a PDF") or (kind != PDF and seems):
        expected = "a PDF" if kind == PDF else "text"
        raise UnreadableDocument(
            f"is {seems or 'something else'}, not {expected} as its name says",
            where=name,
            remedy="Give the file its right suffix, or leave it out",
        )
    parsed = _converter(kind, max_pdf_pages)(data, name)
    if not any(block.text.strip() for block in parsed.blocks):
        raise UnreadableDocument("holds no text", where=name, remedy="Leave it out, or give it some")
    return parsed


def what_it_is(data: bytes) -> str | None:
    """A name for content that no text has, by its first bytes."""
    return next((kind for magic, kind in _MAGIC if data[:1024].lstrip(b"\xef\xbb\xbf \r\n\t").startswith(magic)), None)


def _converter(kind: str, max_pdf_pages: int) -> Callable[[bytes, str], ParsedDocument]:
    # Imported where used: a corpus of Markdown does not pay for the PDF library's start.
    if kind == MARKDOWN:
        from ragsaver.ingestion.converters.markdown import from_markdown

        return from_markdown
    if kind == TEXT:
        from ragsaver.ingestion.converters.plain_text import from_text

        return from_text
    if kind == HTML:
        from ragsaver.ingestion.converters.html import from_html

        return from_html
    if kind == PDF:
        from ragsaver.ingestion.converters.pdf import from_pdf

        return lambda data, name: from_pdf(data, name, max_pages=max_pdf_pages)
    raise UnreadableDocument(
        f"`{kind}` is no format that can be read", where="format", remedy="Use markdown, text, html or pdf"
    )
