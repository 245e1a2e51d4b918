"""A table as text: a row a line, its cells between bars, as every converter writes it."""

import re
from collections.abc import Iterable, Sequence

from ragsaver.ingestion.blocks import Block

_SPACE = re.compile(r"\s+")
_NUMBER = re.compile(r"[-+$€£]?[\d.,' ]*\d[\d.,' ]*[%$€£]?")


def table(rows: Iterable[Sequence[str]], *, header_rows: int | None = None, page: int | None = None) -> Block | None:
    """A table block without its empty rows and columns; None if nothing is left.

    :param rows: cells in reading order; rows may differ in length.
    :param header_rows: how many of the first rows name the columns; judged by the first row's cells if None.
    """
    named = [[squeeze(cell) for cell in row] for row in rows]
    kept = [number for number, row in enumerate(named) if any(row)]
    if not kept:
        return None
    used = {column for number in kept for column, cell in enumerate(named[number]) if cell}
    # Rows are not filled up to the widest one: one long row would cost as much as all of them so wide.
    cells = [[cell for column, cell in enumerate(_trimmed(named[number])) if column in used] for number in kept]
    if header_rows is None:
        top = int(len(cells[0]) == len(used) and names_columns(cells[0]))
    else:
        top = sum(number < header_rows for number in kept)
    lines = [" | ".join(row) for row in cells]
    # A header over no rows is all there is to read.
    header = "\n".join(lines[:top]) if 0 < top < len(lines) else None
    return Block("table", "\n".join(lines), page=page, header=header)


def names_columns(row: Sequence[str]) -> bool:
    """Whether a first row names columns: every cell but perhaps the first holds words, none a number."""
    return any(row) and all(row[1:]) and not any(_NUMBER.fullmatch(cell) for cell in row)


def _trimmed(row: Sequence[str]) -> Sequence[str]:
    end = len(row)
    while end and not row[end - 1]:
        end -= 1
    return row[:end]


def squeeze(text: str) -> str:
    """The text on one line."""
    return _SPACE.sub(" ", text).strip()
