"""HTML tables: their rows with what names the columns, told from those that lay out a page."""

from collections.abc import Iterator, Sequence
from itertools import takewhile

from selectolax.lexbor import LexborNode

from ragsaver.ingestion.blocks import Block
from ragsaver.ingestion.converters.html_text import text_of
from ragsaver.ingestion.converters.rows import table

# A cell longer than this makes a table without a header one that lays out a page.
_LAYOUT_CELL_CHARS = 1000
# No row is widened beyond this by cells that span columns.
_MAX_COLUMNS = 1000
_SECTIONS = ("thead", "tbody", "tfoot")


def table_block(node: LexborNode) -> Block | None:
    """The rows of a `<table>`; its header is its `<thead>`, or the first rows of nothing but `<th>`.

    Where no cell is a `<th>`, the first row is judged as in any other table.
    """
    rows = _rows(node)
    header = sum(1 for _ in takewhile(_in_head, rows)) or sum(1 for _ in takewhile(_only_names, map(_cells, rows)))
    return table(_grid(rows), header_rows=header if header or _is_named(rows) else None)


def lays_out(node: LexborNode) -> bool:
    """Whether a table holds a page's layout instead of data.

    With a header it does so only if a long cell has headings or tables in it; without one if any cell is long, has
    headings, lists or tables, or if there are paragraphs in its one row or column.
    """
    rows = _rows(node)
    sections = len(node.css("table")) > 1 or node.css_first("h1, h2, h3, h4, h5, h6") is not None  # it finds itself
    is_long = any(len(cell.text()) > _LAYOUT_CELL_CHARS for row in rows for cell in _cells(row))
    if _is_named(rows):
        return sections and is_long
    frame = len(rows) == 1 or all(len(_cells(row)) <= 1 for row in rows)
    return sections or is_long or node.css_first("p, ul, ol, dl" if frame else "ul, ol, dl") is not None


def _rows(node: LexborNode) -> list[LexborNode]:
    """The table's own rows, without those of tables in it."""
    rows: list[LexborNode] = []
    for child in node.iter():
        if child.tag == "tr":
            rows.append(child)
        elif child.tag in _SECTIONS:
            rows.extend(row for row in child.iter() if row.tag == "tr")
    return rows


def _cells(row: LexborNode) -> list[LexborNode]:
    return [cell for cell in row.iter() if cell.tag in ("th", "td")]


def _in_head(row: LexborNode) -> bool:
    return row.parent is not None and row.parent.tag == "thead"


def _only_names(cells: Sequence[LexborNode]) -> bool:
    """Whether a row names columns; the corner above the rows' names may be a cell without text."""
    filled = [cell for cell in cells if cell.text(strip=True)]
    return bool(filled) and all(cell.tag == "th" for cell in filled)


def _is_named(rows: Sequence[LexborNode]) -> bool:
    return any(_in_head(row) or any(cell.tag == "th" for cell in _cells(row)) for row in rows)


def _grid(rows: Sequence[LexborNode]) -> Iterator[list[str]]:
    """Cells in their columns; what a cell spans beside its first place is empty."""
    taken: dict[int, int] = {}  # the row up to which a cell spans a column
    for number, row in enumerate(rows):
        texts: list[str] = []
        for cell in _cells(row):
            while taken.get(len(texts), -1) >= number:
                texts.append("")
            last = number + _span(cell, "rowspan") - 1
            width = max(1, min(_span(cell, "colspan"), _MAX_COLUMNS - len(texts)))
            taken.update(dict.fromkeys(range(len(texts), len(texts) + width), last))
            texts += [text_of(cell), *[""] * (width - 1)]
        yield texts


def _span(cell: LexborNode, attribute: str) -> int:
    value = (cell.attributes.get(attribute) or "").strip()
    return max(1, int(value)) if value.isascii() and value.isdigit() and len(value) < 6 else 1
