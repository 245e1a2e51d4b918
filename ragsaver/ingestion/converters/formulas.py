"""Formulas that were never calculated: something else than a spreadsheet program wrote them, without their values."""

import re
import zipfile
from collections.abc import Iterator

from ragsaver.ingestion.notes import Note, NoteCode

_PIECE_BYTES = 2**20
_CELL_END = b"</c>"
# A text that is empty is a value: such a cell says so by its type.
_LACKING = re.compile(
    rb'<c\b(?![^>]*\bt="str")[^>]*>\s*<f\b(?:[^>]*/>|[^>]*>[^<]*</f>)\s*(?:<v\s*/>|<v>\s*</v>)?\s*</c>'
)


def formulas_note(archive: zipfile.ZipFile) -> Note | None:
    """What to say of a workbook's formulas without values; None if all have one.

    :param archive: the workbook, checked.
    """
    sheets = [name for name in archive.namelist() if name.startswith("xl/worksheets/") and name.endswith(".xml")]
    count = sum(len(_LACKING.findall(cells)) for sheet in sheets for cells in _cells(archive, sheet))
    if not count:
        return None
    told = f"{count} formulas have" if count > 1 else "1 formula has"
    return Note(
        NoteCode.FORMULAS,
        f"{told} no calculated value and {'are' if count > 1 else 'is'} left out; open the workbook in a spreadsheet "
        "program and save it",
    )


def _cells(archive: zipfile.ZipFile, sheet: str) -> Iterator[bytes]:
    """The sheet in pieces that end with a cell."""
    rest = b""
    with archive.open(sheet) as stream:
        while piece := stream.read(_PIECE_BYTES):
            whole, end, rest = (rest + piece).rpartition(_CELL_END)
            yield whole + end
            rest = rest[-_PIECE_BYTES:]  # no cell is that long
