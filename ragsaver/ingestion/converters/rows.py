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
    used = sorted({column for number in kept for column, cell in enumerate(named[number]) if cell})
    cells = [[named[number][column] if column < len(named[number]) else "" for column in used] for number in kept]
    top = int(names_columns(cells[0])) if header_rows is None else sum(number < header_rows for number in kept)
    lines = [" | ".join(row).rstrip() for row in cells]
    # A header over no rows is all there is to read.
    header = "\n".join(lines[:top]) if 0 < top < len(lines) else None
    return Block("table", "\n".join(lines), page=page, header=header)


def names_columns(row: Sequence[str]) -> bool:
    """Whether a first row names columns: every cell but perhaps the first holds words, none a number."""
    return any(row) and all(row[1:]) and not any(_NUMBER.fullmatch(cell) for cell in row)


def squeeze(text: str) -> str:
    """The text on one line."""
    return _SPACE.sub(" ", text).strip()
