"""Where on a page are tables? Only where drawn lines cross to a grid with text in its cells.

Text that merely stands in columns is for `pdf_columns` to judge. Coordinates are points, y upwards.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

# Lines this near are one, and their ends meet.
_NEAR = 2.5
_SHORTEST = 6.0
# More lines than that are a drawing.
_MAX_LINES = 600
# A cell longer than this makes a grid one that lays out a page.
_LAYOUT_CELL_CHARS = 1000
# What names columns, or rows, is no longer: where neither is short, the cells are columns of prose.
_NAME_CHARS = 100
# Cells with text at least; the grid behind a curve has few.
_FILLED = 1 / 3

Rows = list[list[str]]


class Line(NamedTuple):
    """A horizontal line at the height `at`, or an upright one at the width `at`, and from where to where it goes."""

    at: float
    start: float
    end: float


class Char(NamedTuple):
    """A character and its centre; none where it is not drawn, but a space or line end that was made up."""

    text: str
    centre: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Grid:
    """Lines that cross: `edges` are the places of the horizontal ones, from the top, and of the upright ones."""

    horizontal: Collection[Line]
    upright: Collection[Line]
    edges: tuple[list[float], list[float]]

    def cell(self, x: float, y: float) -> tuple[int, int] | None:
        """Row and column of a point, from 0; of what spans several the first ones. None if it lies outside."""
        down, right = self.edges
        row, column = bisect_right(down, -y) - 1, bisect_right(right, x) - 1
        if not (0 <= row < len(down) - 1 and 0 <= column < len(right) - 1):
            return None
        while column and not _cut(self.upright, right[column], (down[row] + down[row + 1]) / -2):
            column -= 1
        while row and not _cut(self.horizontal, -down[row], (right[column] + right[column + 1]) / 2):
            row -= 1
        return row, column


def split(chars: Sequence[Char], found: Iterable[Grid]) -> list[str | Rows]:
    """A page's text in its order, with the rows of each table where it begins.

    :param found: as `grids` finds them.
    """
    tables = [(grid, rows) for grid in found if _is_table(rows := _cells(chars, grid))]
    parts: list[str | Rows] = []
    text: list[str] = []
    told: set[int] = set()
    inside: int | None = None
    for char in chars:
        if char.centre is not None:
            inside = next((n for n, (grid, _) in enumerate(tables) if grid.cell(*char.centre)), None)
        if inside is None:
            text.append(char.text)
        elif inside not in told:
            told.add(inside)
            parts += ["".join(text), tables[inside][1]]
            text = []
    return [*parts, "".join(text)]


def grids(horizontal: Iterable[Line], upright: Iterable[Line]) -> list[Grid]:
    """Grids of at least two rows and two columns, the smallest first: one may stand in another's cell."""
    across, up = _merged(horizontal), _merged(upright)
    if len(across) + len(up) > _MAX_LINES:
        return []
    found: list[tuple[set[Line], set[Line]]] = []
    for line in across:
        rows, columns = {line}, {other for other in up if _meet(line, other)}
        for group in [group for group in found if group[1] & columns]:
            found.remove(group)
            rows |= group[0]
            columns |= group[1]
        found.append((rows, columns))
    made = [
        Grid(*group, (_places(-line.at for line in group[0]), _places(line.at for line in group[1]))) for group in found
    ]
    whole = [grid for grid in made if min(map(len, grid.edges)) >= 3]
    return sorted(
        whole, key=lambda grid: (grid.edges[0][-1] - grid.edges[0][0]) * (grid.edges[1][-1] - grid.edges[1][0])
    )


def _merged(lines: Iterable[Line]) -> list[Line]:
    """Pieces of a line put together: borders are drawn cell by cell, or as dots, or as thin boxes with two sides."""
    places: list[list[Line]] = []
    for line in sorted(lines):
        if places and line.at - places[-1][0].at <= _NEAR:
            places[-1].append(line)
        else:
            places.append([line])
    whole: list[Line] = []
    for pieces in places:
        at = pieces[0].at
        start, end = float("inf"), float("-inf")
        for piece in sorted(pieces, key=lambda piece: piece.start):
            if piece.start > end + _NEAR:
                whole.append(Line(at, start, end))
                start = piece.start
            end = max(end, piece.end) if end >= start else piece.end
        whole.append(Line(at, start, end))
    return [line for line in whole if line.end - line.start >= _SHORTEST]


def _meet(across: Line, up: Line) -> bool:
    return across.start - _NEAR <= up.at <= across.end + _NEAR and up.start - _NEAR <= across.at <= up.end + _NEAR


def _places(at: Iterable[float]) -> list[float]:
    places = sorted(at)
    return places[:1] + [later for before, later in pairwise(places) if later - before > _NEAR]


def _cut(lines: Collection[Line], at: float, middle: float) -> bool:
    return any(abs(line.at - at) <= _NEAR and line.start <= middle <= line.end for line in lines)


def _cells(chars: Sequence[Char], grid: Grid) -> Rows:
    texts: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    last: tuple[int, int] | None = None
    for char in chars:
        place = last if char.centre is None else grid.cell(*char.centre)
        if place is not None:
            if place != last and place in texts:  # a further line of the same cell
                texts[place].append(" ")
            texts[place].append(char.text)
        last = place
    rows, columns = (range(len(edges) - 1) for edges in grid.edges)
    return [["".join(texts.get((row, column), ())).strip() for column in columns] for row in rows]


def _is_table(rows: Rows) -> bool:
    filled = [(row, column) for row, cells in enumerate(rows) for column, text in enumerate(cells) if text]
    return (
        min(len({place[side] for place in filled}) for side in (0, 1)) >= 2
        and len(filled) >= _FILLED * len(rows) * len(rows[0])
        and max(len(text) for cells in rows for text in cells) <= _LAYOUT_CELL_CHARS
        and min(max(map(len, names)) for names in (rows[0], [cells[0] for cells in rows])) <= _NAME_CHARS
    )
