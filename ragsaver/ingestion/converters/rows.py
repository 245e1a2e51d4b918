"""A table as text: a row a line, its cells between bars, as every converter writes it."""

import re
from collections.abc import Iterable, Sequence

from ragsaver.ingestion.blocks import Block

# Counts as white space, so no squeezed cell holds it.
_APART = "\x1f"
_NUMBER = re.compile(r"[-+$€£]?[\d.,' ]+[%$€£]?")


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
        top = int(len(first) == len(used) and names_columns(first))
    # A header over no rows is all there is to read.
    header = "\n".join(lines[:top]) if 0 < top < len(lines) else None
    return Block("table", "\n".join(lines), page=page, header=header)


def names_columns(row: Sequence[str]) -> bool:
    """Whether a first row names columns: every cell but perhaps the first holds words, none a number."""
    return any(row) and all(row[1:]) and not any(_NUMBER.fullmatch(cell) for cell in row)


def _used(cells: list[str], used: set[int]) -> list[str]:
    return [cell for column, cell in enumerate(cells) if column in used]


def squeeze(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())
