"""From a file's bytes to blocks: one converter a format, chosen by the name and checked against the bytes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.blocks import ParsedDocument
from ragsaver.ingestion.converters.limits import ConversionLimits

MARKDOWN, TEXT, HTML, PDF = "markdown", "text", "html", "pdf"
DOCX, PPTX, XLSX, ODT, RTF, MSG = "docx", "pptx", "xlsx", "odt", "rtf", "msg"
CSV, TSV, JSON, JSONL = "csv", "tsv", "json", "jsonl"

FORMATS: dict[str, str] = {
    ".md": MARKDOWN,
    ".mdx": MARKDOWN,
    ".markdown": MARKDOWN,
    ".txt": TEXT,
    ".html": HTML,
    ".htm": HTML,
    ".pdf": PDF,
    ".docx": DOCX,
    ".pptx": PPTX,
    ".xlsx": XLSX,
    ".odt": ODT,
    ".rtf": RTF,
    ".msg": MSG,
    ".csv": CSV,
    ".tsv": TSV,
    ".json": JSON,
    ".jsonl": JSONL,
}

_ZIP, _OLE = "a ZIP archive or an Office document", "an old Office document"

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", _ZIP),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\xd0\xcf\x11\xe0", _OLE),
)

# What the bytes of a format look like, and what a person calls it; the others are text.
_BINARY: dict[str, tuple[str, str]] = {
    PDF: ("a PDF", "a PDF"),
    DOCX: (_ZIP, "a Word document"),
    PPTX: (_ZIP, "a presentation"),
    XLSX: (_ZIP, "a workbook"),
    ODT: (_ZIP, "an OpenDocument text"),
    MSG: (_OLE, "an Outlook message"),
}

_DEFAULT_LIMITS = ConversionLimits()

# Formats of before 2007, and those that follow them.
_SUCCESSORS = {".doc": ".docx", ".dot": ".docx", ".xls": ".xlsx", ".ppt": ".pptx", ".pps": ".pptx"}
# The stream that holds an Office document with a password.
_ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")


def is_outdated(name: str) -> bool:
    """Whether a file's name says that it is an Office document of before 2007, which can't be read."""
    return PurePosixPath(name).suffix.lower() in _SUCCESSORS


def format_of(name: str) -> str | None:
    """The format that a file's name says; None if it is not one that can be read."""
    return FORMATS.get(PurePosixPath(name).suffix.lower())


def convert(
    name: str,
    data: bytes,
    format: str | None = None,
    *,
    max_pdf_pages: int | None = None,
    limits: ConversionLimits = _DEFAULT_LIMITS,
) -> ParsedDocument:
    """Convert a document.

    :param name: the source's name, for its suffix and for errors.
    :param format: one of the values of `FORMATS`; from the name if None. A name without a suffix is a text's.
    :param max_pdf_pages: in place of the one in `limits`.
    :raises UnreadableDocument: if it is no such format, broken, unsafe to open, or holds no text.
    """
    seems = what_it_is(data)
    kind = format or format_of(name)
    if kind is None and seems is None and not PurePosixPath(name).suffix:
        kind = TEXT  # as README and LICENSE are
    if seems == _OLE and kind != MSG:
        _refuse_old_office(name, data, kind)
    if kind is None:
        raise UnreadableDocument(
            f"this kind of file can't be read{f': it is {seems}' if seems else ''}",
            where=name,
            remedy=_remedy_for_kind(name),
        )
    looks, called = _BINARY.get(kind, (None, "text"))
    if seems != looks:
        raise UnreadableDocument(
            f"is {seems or 'something else'}, not {called} as its name says",
            where=name,
            remedy="Give the file its right suffix, or leave it out",
        )
    if max_pdf_pages is not None:
        limits = replace(limits, max_pdf_pages=max_pdf_pages)
    converter = _converter(kind, limits)
    try:
        parsed = converter(data, name)
    except (UnreadableDocument, MemoryError):
        raise
    except RecursionError:
        raise UnreadableDocument(
            "is nested too deeply", where=name, remedy="Leave it out, or save it in a simpler form"
        ) from None
    except Exception as error:  # what a parser of another house says of a damaged file can't be listed
        raise UnreadableDocument(
            f"its content makes no sense: {type(error).__name__}: {error}",
            where=name,
            remedy="It may be damaged: open it and save it once more",
        ) from error
    if not any(block.text.strip() for block in parsed.blocks):
        raise UnreadableDocument("holds no text", where=name, remedy="Leave it out, or give it some")
    return parsed


def what_it_is(data: bytes) -> str | None:
    """A name for content that no text has, by its first bytes."""
    return next((kind for magic, kind in _MAGIC if data[:1024].lstrip(b"\xef\xbb\xbf \r\n\t").startswith(magic)), None)


def _refuse_old_office(name: str, data: bytes, kind: str | None) -> None:
    if _ENCRYPTED_STREAM in data:
        raise UnreadableDocument("is encrypted", where=name, remedy="Remove its password first")
    suffix = PurePosixPath(name).suffix.lower()
    successor = _SUCCESSORS.get(suffix) or (suffix if suffix in _SUCCESSORS.values() else None)
    if successor:
        raise UnreadableDocument(
            f"is an old Office document{f', not {_BINARY[kind][1]} as its name says' if kind in _BINARY else ''}",
            where=name,
            remedy=f"Save it as {successor}",
        )


def _remedy_for_kind(name: str) -> str:
    successor = _SUCCESSORS.get(PurePosixPath(name).suffix.lower())
    return f"Save it as {successor}" if successor else f"Kinds that can: {', '.join(sorted(FORMATS))}"


def _converter(kind: str, limits: ConversionLimits) -> Callable[[bytes, str], ParsedDocument]:
    # Imported where used: a corpus of Markdown does not pay for the start of the PDF or Office libraries.
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

        return lambda data, name: from_pdf(data, name, limits)
    if kind == DOCX:
        from ragsaver.ingestion.converters.docx import from_docx

        return lambda data, name: from_docx(data, name, limits)
    if kind == PPTX:
        from ragsaver.ingestion.converters.pptx import from_pptx

        return lambda data, name: from_pptx(data, name, limits)
    if kind == XLSX:
        from ragsaver.ingestion.converters.xlsx import from_xlsx

        return lambda data, name: from_xlsx(data, name, limits)
    if kind == ODT:
        from ragsaver.ingestion.converters.odt import from_odt

        return lambda data, name: from_odt(data, name, limits)
    if kind == RTF:
        from ragsaver.ingestion.converters.rtf import from_rtf

        return from_rtf
    if kind == MSG:
        from ragsaver.ingestion.converters.msg import from_msg

        return from_msg
    if kind in (CSV, TSV):
        from ragsaver.ingestion.converters import delimited

        return delimited.from_csv if kind == CSV else delimited.from_tsv
    if kind in (JSON, JSONL):
        from ragsaver.ingestion.converters import json_data

        return json_data.from_json if kind == JSON else json_data.from_jsonl
    raise UnreadableDocument(
        f"`{kind}` is no format that can be read",
        where="format",
        remedy=f"Use one of {', '.join(sorted(set(FORMATS.values())))}",
    )
