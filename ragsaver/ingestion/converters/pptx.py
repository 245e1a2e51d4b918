"""Presentations: a slide's title is a heading, its number the page; lists, tables and speaker notes follow."""

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from pptx import Presentation
from pptx.enum.shapes import PP_PLACEHOLDER
from pptx.oxml.ns import qn

from ragsaver.ingestion.blocks import Block, ParsedDocument
from ragsaver.ingestion.converters.embedded_objects import objects_in, objects_note
from ragsaver.ingestion.converters.limits import ConversionLimits
from ragsaver.ingestion.converters.package import open_package
from ragsaver.ingestion.converters.rows import squeeze, table
from ragsaver.ingestion.notes import Note, pages_of, pages_without_text

_TITLES = frozenset({PP_PLACEHOLDER.TITLE, PP_PLACEHOLDER.CENTER_TITLE, PP_PLACEHOLDER.VERTICAL_TITLE})
# What stands on every slide alike.
_FURNITURE = frozenset({PP_PLACEHOLDER.DATE, PP_PLACEHOLDER.FOOTER, PP_PLACEHOLDER.SLIDE_NUMBER, PP_PLACEHOLDER.HEADER})

_PICTURE = qn("p:pic")


def from_pptx(data: bytes, name: str, limits: ConversionLimits) -> ParsedDocument:
    """Blocks of a .pptx, each with its slide's number as `page`."""
    open_package(data, name, limits, "ppt/").close()
    deck = Presentation(io.BytesIO(data))
    slides = [list(_slide(slide, number)) for number, slide in enumerate(deck.slides, 1)]
    blocks = tuple(block for slide in slides for block in slide)
    titles = (block.text for block in blocks if block.kind == "heading" and block.text != f"Slide {block.page}")
    core = (deck.core_properties.title or "").strip()
    # PowerPoint itself names a deck that nobody named.
    title = next(titles, None) or (None if core.startswith("PowerPoint") else core or None)
    return ParsedDocument(blocks, title, tuple(_notes(deck, {block.page for block in blocks})))


def _notes(deck: Any, read: set[int | None]) -> Iterator[Note]:
    """What slides show and do not say.

    :param read: slides with text.
    """
    slides = {number: slide.element for number, slide in enumerate(deck.slides, 1)}
    pictures = [n for n, slide in slides.items() if n not in read and next(slide.iter(_PICTURE), None) is not None]
    if pictures:
        yield pages_without_text(pictures, "slide")
    objects = {number: found for number, slide in slides.items() if (found := objects_in(slide))}
    if objects:
        yield objects_note(sum(objects.values(), Counter()), pages_of(objects, "slide"))


def _slide(slide: Any, number: int) -> Iterator[Block]:
    shapes = list(_flat(slide.shapes))
    title = next((squeeze(shape.text_frame.text) for shape in shapes if _placeholder(shape) in _TITLES), "")
    body = [block for shape in shapes for block in _shape(shape, number)]
    if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame) is not None:
        body += _paragraphs(notes, number)
    if title or body:
        yield Block("heading", title or f"Slide {number}", level=1, page=number)
        yield from body


def _flat(shapes: Iterable[Any]) -> Iterator[Any]:
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _flat(shape.shapes)
        else:
            yield shape


def _placeholder(shape: Any) -> Any:
    return shape.placeholder_format.type if shape.is_placeholder else None


def _shape(shape: Any, number: int) -> Iterator[Block]:
    kind = _placeholder(shape)
    if kind in _TITLES or kind in _FURNITURE:
        return
    if getattr(shape, "has_table", False):
        rows = [[cell.text for cell in row.cells] for row in shape.table.rows]
        block = table(rows, header_rows=1 if shape.table.first_row else None, page=number)
        if block is not None:
            yield block
    elif shape.has_text_frame:
        paragraphs = [paragraph for paragraph in shape.text_frame.paragraphs if paragraph.text.strip()]
        if kind is not None and len(paragraphs) > 1:
            lines = [f"{'  ' * paragraph.level}- {squeeze(paragraph.text)}" for paragraph in paragraphs]
            yield Block("list", "\n".join(lines), page=number)
        else:
            yield from _paragraphs(shape.text_frame, number)


def _paragraphs(frame: Any, number: int) -> list[Block]:
    texts = [paragraph.text.replace("\v", "\n").strip() for paragraph in frame.paragraphs]
    return [Block("paragraph", text, page=number) for text in texts if text]
