"""Workbooks: each sheet is a heading, each run of its rows a table."""

import datetime
import io
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, takewhile
from typing import Any

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.blocks import Block, ParsedDocument
from ragsaver.ingestion.converters.formulas import formulas_note
from ragsaver.ingestion.converters.limits import ConversionLimits
from ragsaver.ingestion.converters.package import open_package
from ragsaver.ingestion.converters.rows import squeeze, table

# So many rows of one cell each are remarks; more are a table of one column.
_MAX_LONE_ROWS = 2
# One cell at the far end of each row makes a small file a huge table.
_MAX_CELLS = 10_000_000
_IMPORTING = threading.Lock()


def from_xlsx(data: bytes, name: str, limits: ConversionLimits) -> ParsedDocument:
    """Blocks of an .xlsx: the values as they were last calculated; empty rows part the tables of a sheet."""
    with open_package(data, name, limits, "xl/") as archive:
        note = formulas_note(archive)
    workbook = _openpyxl().load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    blocks: list[Block] = []
    cells = 0

    def counted(rows: Iterable[Sequence[Any]]) -> Iterator[list[str]]:
        nonlocal cells
        for row in rows:
            cells += len(row)
            if cells > _MAX_CELLS:
                raise UnreadableDocument(
                    f"spans more than {_MAX_CELLS:,} cells, used or not", where=name, remedy="Save its sheets as .csv"
                )
            yield [_text(value) if value is not None else "" for value in row]

    for sheet in workbook.worksheets:
        sheet.reset_dimensions()  # the size that a file states is often wrong
        if found := list(sheet_blocks(counted(sheet.iter_rows(values_only=True)))):
            blocks += [Block("heading", sheet.title, level=1), *found]
    title = workbook.properties.title or ""
    return ParsedDocument(tuple(blocks), title.strip() or None, (note,) if note else ())


def sheet_blocks(rows: Iterable[Sequence[str]]) -> Iterator[Block]:
    """A sheet's rows as blocks: empty rows part the tables, cells that stand alone above a table are text."""
    for used, run in groupby(rows, key=any):
        if not used:
            continue
        lines = list(run)
        above = list(takewhile(lambda row: sum(map(bool, row)) == 1, lines))
        if len(above) == len(lines) > _MAX_LONE_ROWS:  # a table of one column
            above = []
        yield from (Block("paragraph", squeeze(" ".join(row))) for row in above)
        if (block := table(lines[len(above) :])) is not None:
            yield block


def _text(value: Any) -> str:
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat(" ", "minutes")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _openpyxl() -> Any:
    """openpyxl without numpy, which it would load for nothing: a worker has no memory to spare for it."""
    with _IMPORTING:
        if "openpyxl" not in sys.modules and "numpy" not in sys.modules:
            sys.modules["numpy"] = None  # type: ignore[assignment]
            try:
                import openpyxl
            finally:
                del sys.modules["numpy"]
        import openpyxl

        return openpyxl
