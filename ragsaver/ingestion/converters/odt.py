"""OpenDocument texts: headings, lists, tables and preformatted text from `content.xml`."""

import re
import zipfile
from collections.abc import Iterator
from typing import Any

from lxml import etree

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.blocks import Block, ParsedDocument
from ragsaver.ingestion.converters.limits import ConversionLimits
from ragsaver.ingestion.converters.package import encrypted, open_package
from ragsaver.ingestion.converters.rows import squeeze, table

_OASIS = "urn:oasis:names:tc:opendocument:xmlns:"
_OFFICE, _STYLE = f"{{{_OASIS}office:1.0}}", f"{{{_OASIS}style:1.0}}"
_TEXT, _TABLE = f"{{{_OASIS}text:1.0}}", f"{{{_OASIS}table:1.0}}"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_TEXT_BOX = f"{{{_OASIS}drawing:1.0}}text-box"
_PASSED = {
    f"{_OFFICE}annotation",
    f"{_TEXT}tracked-changes",
    f"{_TEXT}sequence-decls",
    f"{_TEXT}table-of-content",
    f"{_TEXT}note-citation",
    _TEXT_BOX,  # its paragraphs are blocks of their own
}
_CODE_STYLE = re.compile(r"preformatted|source_20_(?:text|code)|^code", re.IGNORECASE)
# What a document may have repeated by a number instead of writing it out.
_MAX_SPACES = 100
_MAX_REPEATED = 64


def from_odt(data: bytes, name: str, limits: ConversionLimits) -> ParsedDocument:
    """Blocks of an .odt; comments, deleted text and tables of contents are left out."""
    archive = open_package(data, name, limits, "content.xml")
    if b"encryption-data" in _part(archive, "META-INF/manifest.xml"):
        raise encrypted(name)
    root = _parse(archive.read("content.xml"))
    body = root.find(f"{_OFFICE}body/{_OFFICE}text")
    if body is None:
        raise UnreadableDocument(
            "is another OpenDocument file, not a text as its name says", where=name, remedy="Save it as .odt"
        )
    blocks = _joined(_walk(body, _parents(root)))
    meta = _part(archive, "meta.xml")
    title = next((node.text for node in _parse(meta).iter(_TITLE)), None) if meta else None
    first = next((block.text for block in blocks if block.kind == "heading" and block.level == 1), None)
    return ParsedDocument(tuple(blocks), first or (title or "").strip() or None)


def _part(archive: zipfile.ZipFile, part: str) -> bytes:
    return archive.read(part) if part in archive.namelist() else b""


def _parse(data: bytes) -> Any:
    return etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True))


def _parents(root: Any) -> dict[str, str]:
    """Automatic styles by name, each with the named style it comes from."""
    return {
        style.get(f"{_STYLE}name", ""): style.get(f"{_STYLE}parent-style-name", "")
        for style in root.iter(f"{_STYLE}style")
    }


def _walk(container: Any, parents: dict[str, str]) -> Iterator[Block]:
    for child in container:
        if child.tag in _PASSED:
            continue
        if child.tag == f"{_TEXT}h":
            level = int(child.get(f"{_TEXT}outline-level", "1"))
            yield Block("heading", squeeze(_text(child)), level=max(1, level))
        elif child.tag == f"{_TEXT}p":
            style = child.get(f"{_TEXT}style-name", "")
            style = parents.get(style) or style
            if _CODE_STYLE.search(style):
                yield Block("code", _text(child).rstrip())
            elif style == "Title":
                yield Block("heading", squeeze(_text(child)), level=1)
            else:
                yield Block("paragraph", _text(child).strip())
            for box in child.iter(_TEXT_BOX):
                yield from _walk(box, parents)
        elif child.tag == f"{_TEXT}list":
            yield Block("list", "\n".join(_items(child, 0)))
        elif child.tag == f"{_TABLE}table":
            yield from _table(child)
        else:
            yield from _walk(child, parents)


def _joined(blocks: Iterator[Block]) -> list[Block]:
    """Without empty blocks; lines of code that follow each other are one block."""
    kept: list[Block] = []
    for block in blocks:
        if block.kind == "code" and kept and kept[-1].kind == "code":
            kept[-1] = Block("code", f"{kept[-1].text}\n{block.text}")
        elif block.text.strip():
            kept.append(block)
    return kept


def _items(element: Any, depth: int) -> Iterator[str]:
    for item in element.iterchildren(f"{_TEXT}list-item", f"{_TEXT}list-header"):
        for child in item:
            if child.tag == f"{_TEXT}list":
                yield from _items(child, depth + 1)
            elif text := squeeze(_text(child)):
                yield f"{'  ' * depth}- {text}"


def _table(element: Any) -> Iterator[Block]:
    # Rows of a table within a cell are the cell's text.
    rows = [row for row in element.iter(f"{_TABLE}table-row") if next(row.iterancestors(f"{_TABLE}table")) is element]
    headers = sum(row.getparent().tag == f"{_TABLE}table-header-rows" for row in rows)
    cells = [[text for cell in row.iterchildren(f"{_TABLE}*") for text in _cell(cell)] for row in rows]
    if (block := table(cells, header_rows=headers or None)) is not None:
        yield block


def _cell(cell: Any) -> list[str]:
    """A cell's text, as often as it stands in its row."""
    text = " ".join(_text(paragraph) for paragraph in cell.iter(f"{_TEXT}p", f"{_TEXT}h"))
    return [text] * min(int(cell.get(f"{_TABLE}number-columns-repeated", "1")), _MAX_REPEATED)


def _text(element: Any) -> str:
    found = [element.text or ""]
    for child in element:
        if child.tag == f"{_TEXT}s":
            found.append(" " * min(int(child.get(f"{_TEXT}c", "1")), _MAX_SPACES))
        elif child.tag == f"{_TEXT}tab":
            found.append("\t")
        elif child.tag == f"{_TEXT}line-break":
            found.append("\n")
        elif child.tag == f"{_TEXT}note":
            found.append(f" ({squeeze(_text(child))})")
        elif child.tag not in _PASSED:
            found.append(_text(child))
        found.append(child.tail or "")
    return "".join(found)
