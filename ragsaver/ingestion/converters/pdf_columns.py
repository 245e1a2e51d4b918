"""Where on a page does a table stand that no lines draw? Only where nothing else can be meant.

Rows follow each other, each with as many cells, three or more, whose gaps lie one above the other; a column right of
the first one holds numbers alone, and one holds words. Prose in columns, tables of contents, code, formulas, addresses
and rows that run over several lines stay text. Coordinates are points, y upwards.
"""

import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ragsaver.ingestion.converters.pdf_tables import Grid, Line

# More lines than that are no page that people read.
_MOST_ROWS = 1000
# Rows below a header, and columns.
_FEWEST_ROWS, _FEWEST_COLUMNS = 3, 3
# Lines of a page's text that hold the numbers of as many rows.
_WINDOW = 8
# Gaps between cells are wider than that many times a line's height, which is about three spaces; between cells of
# different rows there may be less.
_GAP, _GUTTER = 1.0, 0.6
# Rows are no further apart than the first two, by this factor.
_UNEVEN = 1.6
_NEXT_LINE = 1.4
# Longer cells are prose, shorter ones too where most begin with a small letter.
_PROSE_CHARS, _SENTENCE_PART_CHARS, _LONGEST_CELL = 32, 16, 60
_NUMERIC = 2 / 3

_NUMBER = re.compile(r"[-+±~<>≤≥(−–]*[$€£]?\d[\d.,'  ]*(?:[eE][-+]?\d+)?[%‰$€£]?\)?(?: ?[$€£%])?[*†‡]?")
_NONE = re.compile(r"[-–—.]+|n/?a|N/?A")
_CODE = re.compile(r"[{};=\\#]|\(\)|//|\.{3}|…|(?: \.){2}")
# Of an entry in a list or bibliography.
_LABEL = re.compile(r"\[.+\]|\(\w+\)|\w+[.)]")
_WITH_NUMBER = re.compile(rf"(?:^|\s){_NUMBER.pattern}(?=\s|$)")


class Glyph(NamedTuple):
    """A character that is drawn, with the white around it that its font gives it.

    :ivar base: the height at which its line stands.
    :ivar spaced: whether a space or the end of a line comes before it in the text.
    """

    text: str
    left: float
    right: float
    height: float
    base: float
    spaced: bool


@dataclass(frozen=True, slots=True)
class _Cell:
    left: float
    right: float
    text: str


@dataclass(frozen=True, slots=True)
class _Row:
    base: float
    cells: tuple[_Cell, ...]


def may_have_columns(text: str) -> bool:
    """Whether it is worth asking where each character of a page stands: some lines in a row hold numbers.

    Cells of a row may be lines of the text.
    """
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    numbered = [n for n, line in enumerate(lines) if _WITH_NUMBER.search(line)]
    return any(later - one < _WINDOW for one, later in zip(numbered, numbered[_FEWEST_ROWS - 1 :], strict=False))


def column_grids(glyphs: Sequence[Glyph], drawn: Sequence[Grid] = ()) -> list[Grid]:
    """The tables of a page as if lines were drawn around their cells.

    :param drawn: grids that are; what stands in them is left alone.
    """
    high = statistics.median(one.height for one in glyphs) if glyphs else 0.0
    if not high:
        return []
    outside = (one for one in glyphs if not any(grid.cell(_centre(one), one.base + high / 4) for grid in drawn))
    rows = list(_rows(outside, high))
    if len(rows) > _MOST_ROWS:
        return []
    found: list[Grid] = []
    at = 0
    while at < len(rows):
        end = _run(rows, at, high)
        if grid := _grid(rows, at, end):
            found.append(grid)
        at = end
    return found


def _centre(one: Glyph) -> float:
    return (one.left + one.right) / 2


def _rows(glyphs: Iterable[Glyph], high: float) -> Iterator[_Row]:
    """The lines of a page from the top, in cells."""
    line: list[Glyph] = []
    for one in sorted(glyphs, key=lambda one: -one.base):
        if line and line[0].base - one.base > high / 6:
            yield _row(line, high)
            line = []
        line.append(one)
    if line:
        yield _row(line, high)


def _row(line: list[Glyph], high: float) -> _Row:
    line.sort(key=lambda one: one.left)
    cells: list[list[Glyph]] = [[line[0]]]
    for one in line[1:]:
        if one.left - max(other.right for other in cells[-1][-3:]) > _GAP * high:
            cells.append([])
        cells[-1].append(one)
    return _Row(line[0].base, tuple(_Cell(some[0].left, max(one.right for one in some), _text(some)) for some in cells))


def _text(glyphs: Sequence[Glyph]) -> str:
    """As it is judged, with a space where highs stand apart."""
    return "".join((" " if one.spaced else "") + one.text for one in glyphs).strip()


def _run(rows: Sequence[_Row], start: int, high: float) -> int:
    """Where the rows end that begin here and have as many cells, whose gaps lie one above the other."""
    count = len(rows[start].cells)
    end = start + 1
    if count < _FEWEST_COLUMNS:
        return end
    while end < len(rows) and len(rows[end].cells) == count:
        first, last = rows[start].base - rows[start + 1].base, rows[end - 1].base - rows[end].base
        if end > start + 1 and last > _UNEVEN * first:
            break
        if any(left + _GUTTER * high > right for left, right in _gutters(rows[start : end + 1])):
            break
        end += 1
    return end


def _gutters(rows: Sequence[_Row]) -> list[tuple[float, float]]:
    """The white between columns, from where to where."""
    columns = list(zip(*(row.cells for row in rows), strict=True))
    return [
        (max(cell.right for cell in before), min(cell.left for cell in after)) for before, after in pairwise(columns)
    ]


def _grid(rows: Sequence[_Row], start: int, end: int) -> Grid | None:
    """Lines around the cells of a run of rows, if these are a table."""
    run = rows[start:end]
    header = not any(map(_is_number, (cell.text for cell in run[0].cells)))
    if len(run) - header < _FEWEST_ROWS:
        return None
    edges = [(left + right) / 2 for left, right in _gutters(run)]
    leading = min(before.base - after.base for before, after in pairwise(run))
    above = rows[start - 1] if start else None
    if not header and above is not None and _heads(above, run, edges, leading):
        run, start, header = rows[start - 1 : end], start - 1, True
        above = rows[start - 1] if start else None
    below = rows[end] if end < len(rows) else None
    if above is not None and above.base - run[0].base <= _NEXT_LINE * leading and _keeps_to(above, edges):
        return None
    if below is not None and run[-1].base - below.base <= _NEXT_LINE * leading and _keeps_to(below, edges):
        return None
    if not _is_table([[cell.text for cell in row.cells] for row in run[header:]], named=header):
        return None
    return _drawn(run, edges, leading, above, below)


def _heads(above: _Row, run: Sequence[_Row], edges: Sequence[float], leading: float) -> bool:
    """Whether a row names the columns of those below, all but the first one."""
    columns = {_column(cell, edges) for cell in above.cells}
    named = len(above.cells) == len(edges) and columns == set(range(1, len(edges) + 1))
    return named and above.base - run[0].base <= 2 * leading and not any(_is_number(one.text) for one in above.cells)


def _keeps_to(row: _Row, edges: Sequence[float]) -> bool:
    """Whether no cell of a row spans columns: then it may go on with, or begin, one of the rows beside it."""
    return all(_column(cell, edges) is not None for cell in row.cells)


def _column(cell: _Cell, edges: Sequence[float]) -> int | None:
    first, last = (sum(edge < side for edge in edges) for side in (cell.left, cell.right))
    return first if first == last else None


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _is_table(rows: Sequence[Sequence[str]], *, named: bool) -> bool:
    columns = list(zip(*rows, strict=True))
    if any(_CODE.search(cell) or len(cell) > _LONGEST_CELL for row in rows for cell in row):
        return False
    if any(map(_is_prose, columns)):
        return False
    numeric = [column for column in columns[1:] if _is_numeric(column)]
    worded = any(all(any(map(str.isalpha, cell)) for cell in column) for column in columns)
    if not numeric or all(map(_LABEL.fullmatch, columns[0])):
        return False
    return named if not worded else not all(map(_are_pages, numeric))


def _is_numeric(column: Sequence[str]) -> bool:
    numbers = sum(map(_is_number, column))
    return numbers >= _NUMERIC * len(column) and all(_is_number(one) or _NONE.fullmatch(one) for one in column)


def _are_pages(column: Sequence[str]) -> bool:
    """Whether the numbers only grow, as those of a table of contents do."""
    return all(map(str.isdecimal, column)) and all(int(before) <= int(after) for before, after in pairwise(column))


def _is_prose(column: Sequence[str]) -> bool:
    mean = sum(map(len, column)) / len(column)
    return mean > _PROSE_CHARS or (
        mean > _SENTENCE_PART_CHARS and 2 * sum(cell[0].islower() for cell in column) >= len(column)
    )


def _drawn(run: Sequence[_Row], edges: Sequence[float], leading: float, above: _Row | None, below: _Row | None) -> Grid:
    """The grid: each row from below its letters to above them, and not into the lines around."""
    first, last = run[0].base, run[-1].base
    top = first + 0.75 * (min(leading, above.base - first) if above else leading)
    bottom = last - 0.25 * (min(leading, last - below.base) if below else leading)
    heights = [top, *(after.base + 0.75 * (before.base - after.base) for before, after in pairwise(run)), bottom]
    cells = [cell for row in run for cell in row.cells]
    left, right = min(one.left for one in cells), max(one.right for one in cells)
    widths = [left, *edges, right]
    return Grid(
        [Line(height, left, right) for height in heights],
        [Line(width, bottom, top) for width in widths],
        ([-height for height in heights], widths),
    )
