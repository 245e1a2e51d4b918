"""Word documents: headings by style and outline level, lists, tables and code in the order of the body.

The body's elements are walked themselves: python-docx passes over content controls, text boxes and insertions.
"""

import io
import re
from collections.abc import Iterator
from typing import Any

from docx import Document
from docx.oxml.ns import qn
from lxml import etree

from ragsaver.ingestion.blocks import Block, BlockKind, ParsedDocument
from ragsaver.ingestion.converters.embedded_objects import objects_in, objects_note
from ragsaver.ingestion.converters.limits import ConversionLimits
from ragsaver.ingestion.converters.package import open_package
from ragsaver.ingestion.converters.rows import squeeze, table

_CODE_STYLE = re.compile(r"\b(?:code|preformatted|listing|verbatim)\b", re.IGNORECASE)
_CONTENTS_STYLE = re.compile(r"toc\b", re.IGNORECASE)
_HEADING_STYLE = re.compile(r"heading (\d)", re.IGNORECASE)
_BODY_LEVEL = 9  # the outline level of text that is no heading
_MAX_SPAN = 63  # columns that Word allows
_NOTES = [
    f"http://schemas.openxmlformats.org/officeDocument/2006/relationships/{kind}" for kind in ("footnotes", "endnotes")
]

_P, _TBL, _TR, _TC, _STYLE = qn("w:p"), qn("w:tbl"), qn("w:tr"), qn("w:tc"), qn("w:style")
_VAL, _STYLE_ID, _TEXT_BOX = qn("w:val"), qn("w:styleId"), qn("w:txbxContent")
# Deleted and moved text, the copy of a drawing for old programs, and text boxes, which are paragraphs of their own.
_PASSED = {qn("w:del"), qn("w:moveFrom"), qn("w:pPr"), qn("w:rPr"), qn("w:instrText"), _TEXT_BOX}
_PASSED.add("{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback")
_TEXTS = {qn("w:t"), qn("m:t")}
_CHARACTERS = {qn("w:tab"): "\t", qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}


def from_docx(data: bytes, name: str, limits: ConversionLimits) -> ParsedDocument:
    """Blocks of a .docx; headers and footers are left out, footnotes and endnotes stand at the end."""
    open_package(data, name, limits, "word/").close()
    document = Document(io.BytesIO(data))
    blocks = _Body(_Styles(document.styles.element)).read(document.element.body)
    blocks += [block for kind in _NOTES for block in _notes(document.part, kind)]
    core = document.core_properties.title or ""
    first = next((block.text for block in blocks if block.kind == "heading" and block.level == 1), None)
    objects = objects_in(document.element.body)
    return ParsedDocument(tuple(blocks), first or core.strip() or None, (objects_note(objects),) if objects else ())


class _Styles:
    """What a paragraph's style says, its parents' included."""

    def __init__(self, styles: Any) -> None:
        self._by_id = {style.get(_STYLE_ID): style for style in styles.iter(_STYLE)}

    def name(self, style_id: str | None) -> str:
        style = self._by_id.get(style_id)
        found = style.find(qn("w:name")) if style is not None else None
        return str(found.get(_VAL, "")) if found is not None else ""

    def properties(self, style_id: str | None) -> Iterator[Any]:
        """The paragraph properties of a style, then of the styles it is based on."""
        seen: set[str | None] = set()
        while style_id in self._by_id and style_id not in seen:
            seen.add(style_id)
            style = self._by_id[style_id]
            if (properties := style.find(qn("w:pPr"))) is not None:
                yield properties
            based = style.find(qn("w:basedOn"))
            style_id = based.get(_VAL) if based is not None else None


class _Body:
    """Turns the elements of a body, a text box or a cell into blocks."""

    def __init__(self, styles: _Styles) -> None:
        self._styles = styles
        self._blocks: list[Block] = []
        # Neighbouring list items, or lines of code, make one block.
        self._run: tuple[BlockKind, list[str]] | None = None

    def read(self, body: Any) -> list[Block]:
        self._walk(body)
        self._flush()
        return self._blocks

    def _walk(self, container: Any) -> None:
        for child in container:
            if child.tag == _P:
                self._paragraph(child)
            elif child.tag == _TBL:
                self._flush()
                self._table(child)
            elif child.tag not in _PASSED:
                self._walk(child)  # content controls and insertions wrap paragraphs

    def _paragraph(self, paragraph: Any) -> None:
        properties = [found] if (found := paragraph.find(qn("w:pPr"))) is not None else []
        style_id = next((one.get(_VAL) for own in properties for one in own.iter(qn("w:pStyle"))), None)
        style = self._styles.name(style_id)
        properties += self._styles.properties(style_id)
        text = text_of(paragraph)
        level = _outline_level(style, properties)
        if _CODE_STYLE.search(style):
            self._add("code", text.rstrip())
        elif not text.strip() or _CONTENTS_STYLE.match(style):
            pass
        elif level is not None:
            self._flush()
            self._blocks.append(Block("heading", squeeze(text), level=level))
        elif (depth := _list_depth(properties)) is not None:
            self._add("list", f"{'  ' * depth}- {squeeze(text)}")
        else:
            self._flush()
            self._blocks.append(Block("paragraph", text.strip()))
        for box in _outermost(paragraph, _TEXT_BOX):
            self._flush()
            self._walk(box)

    def _table(self, element: Any) -> None:
        rows = [[list(_outermost(row, _TC, within=_TBL)), row] for row in _outermost(element, _TR, within=_TBL)]
        if all(len(cells) <= 1 for cells, _ in rows):  # a frame around text
            for cells, _ in rows:
                for cell in cells:
                    self._walk(cell)
            return
        header = 0
        while header < len(rows) and rows[header][1].find(f"{qn('w:trPr')}/{qn('w:tblHeader')}") is not None:
            header += 1
        texts = [[text for cell in cells for text in _spread(cell)] for cells, _ in rows]
        if (block := table(texts, header_rows=header or None)) is not None:
            self._blocks.append(block)

    def _add(self, kind: BlockKind, line: str) -> None:
        if self._run is None or self._run[0] != kind:
            self._flush()
            self._run = (kind, [])
        self._run[1].append(line)

    def _flush(self) -> None:
        if self._run is not None:
            kind, lines = self._run
            self._run = None
            if text := "\n".join(lines).strip("\n"):
                self._blocks.append(Block(kind, text))


def _spread(cell: Any) -> list[str]:
    """A cell's text, and an empty one for each further column that it spans."""
    span = cell.find(f"{qn('w:tcPr')}/{qn('w:gridSpan')}")
    columns = min(int(span.get(_VAL, 1)), _MAX_SPAN) if span is not None else 1
    return [" ".join(text_of(paragraph) for paragraph in cell.iter(_P)), *[""] * (columns - 1)]


def text_of(element: Any) -> str:
    """The text of a paragraph as it reads with its changes accepted."""
    found: list[str] = []

    def collect(node: Any) -> None:
        for child in node:
            if child.tag in _TEXTS:
                found.append(child.text or "")
            elif child.tag in _CHARACTERS:
                found.append(_CHARACTERS[child.tag])
            elif child.tag not in _PASSED:
                collect(child)

    collect(element)
    return "".join(found)


def _outermost(element: Any, tag: str, within: str | None = None) -> Iterator[Any]:
    """Elements of a tag in document order, not those inside of another one, nor of a `within` below."""
    for child in element:
        if child.tag == tag:
            yield child
        elif child.tag != within and child.tag not in _PASSED:
            yield from _outermost(child, tag, within)


def _outline_level(style: str, properties: list[Any]) -> int | None:
    """A heading's depth from 1; None for text."""
    if style.lower() == "title":
        return 1
    for one in properties:
        if (level := one.find(qn("w:outlineLvl"))) is not None:
            number = int(level.get(_VAL, _BODY_LEVEL))
            return number + 1 if number < _BODY_LEVEL else None
    named = _HEADING_STYLE.fullmatch(style)
    return int(named.group(1)) if named else None


def _list_depth(properties: list[Any]) -> int | None:
    """A list item's depth from 0; None for text. Number 0 takes a style's list away."""
    for one in properties:
        if (numbering := one.find(qn("w:numPr"))) is not None:
            number = numbering.find(qn("w:numId"))
            if number is not None and number.get(_VAL) == "0":
                return None
            level = numbering.find(qn("w:ilvl"))
            return int(level.get(_VAL, 0)) if level is not None else 0
    return None


def _notes(part: Any, kind: str) -> list[Block]:
    try:
        notes = part.part_related_by(kind)
    except KeyError:
        return []
    root = etree.fromstring(notes.blob, etree.XMLParser(resolve_entities=False, no_network=True))
    texts = [squeeze(" ".join(text_of(p) for p in note.iter(_P))) for note in root]
    return [Block("list", "\n".join(f"- {text}" for text in texts if text))] if any(texts) else []
