"""A table as text: a row a line, its cells between bars, as every converter writes it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, pairwise

from ragsaver.ingestion.blocks import Block

# Counts as white space, so no squeezed cell holds it.
_APART = "\x1f"
_NUMBER = re.compile(r"[-+$€£]?[\d.,' ]+[%$€£]?")
_YEAR = re.compile(r"(?:19|20)\d\d")
# Numbers that are counted, as sizes or hours are: two are evenly apart by themselves.
_COUNTED = 3
# Rows below a header that are looked at.
_BELOW = 50


def table(rows: Iterable[Sequence[str]], *, header_rows: int | None = None, page: int | None = None) -> Block | None:
    """A table block without its empty rows and columns; None if nothing is left.

    :param rows: cells in reading order; rows may differ in length.
    :param header_rows: how many of the first rows name the columns; judged by the first row's cells if None.
    """
    # A row is one string until it is known which columns are used: a list of cells takes several times as much.
    kept: list[str] = []
    used: set[int] = set()
    top = 0
    for number, row in enumerate(rows):
        cells = [squeeze(cell) for cell in row]
        filled = [column for column, cell in enumerate(cells) if cell]
        if filled:
            used.update(filled)
            kept.append(_APART.join(cells[: filled[-1] + 1]))
            top += header_rows is not None and number < header_rows
    if not kept:
        return None
    lines = [" | ".join(_used(row.split(_APART), used)) for row in kept]
    if header_rows is None:
        first = _used(kept[0].split(_APART), used)
        below = (_used(row.split(_APART), used) for row in islice(kept, 1, _BELOW + 1))
        top = int(len(first) == len(used) and names_columns(first, below))
    # A header over no rows is all there is to read.
    header = "\n".join(lines[:top]) if 0 < top < len(lines) else None
    return Block("table", "\n".join(lines), page=page, header=header)


def names_columns(row: Sequence[str], below: Iterable[Sequence[str]] = ()) -> bool:
    """Whether a first row names columns: every cell but perhaps the first is filled, by words or by what is counted.

    Years that follow each other are names where those below are no years; so are numbers that are evenly apart, right
    of words, where those below are not.

    :param below: rows that follow.
    """
    if not any(row) or not all(row[1:]):
        return False
    numbers = {column: cell for column, cell in enumerate(row) if _NUMBER.fullmatch(cell)}
    if not numbers:
        return True
    rows = [{column: cells[column] for column in numbers if column < len(cells)} for cells in below]
    return _are_years(numbers, rows) or (0 not in numbers and _are_counted(numbers, rows))


def _are_years(numbers: Mapping[int, str], below: Sequence[Mapping[int, str]]) -> bool:
    if not all(map(_YEAR.fullmatch, numbers.values())):
        return False
    steps = {later > before for before, later in pairwise(numbers.values()) if later != before}
    filled = [cell for row in below for cell in row.values() if cell]
    alike = sum(_YEAR.fullmatch(cell) is not None for cell in filled)
    return len(set(numbers.values())) == len(numbers) and len(steps) <= 1 and 2 * alike < len(filled)


def _are_counted(numbers: Mapping[int, str], below: Sequence[Mapping[int, str]]) -> bool:
    return len(numbers) >= _COUNTED and _evenly_apart(numbers) and not any(map(_evenly_apart, below))


def _evenly_apart(cells: Mapping[int, str]) -> bool:
    if len(cells) < _COUNTED or not all(cell.isascii() and cell.isdigit() for cell in cells.values()):
        return False
    steps = {int(later) - int(before) for before, later in pairwise(cells.values())}
    return len(steps) == 1 and steps != {0}


def _used(cells: list[str], used: set[int]) -> list[str]:
    return [cell for column, cell in enumerate(cells) if column in used]


def squeeze(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())
